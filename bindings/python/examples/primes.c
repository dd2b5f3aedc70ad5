/* What primes.py has sideloop's worker threads run. */

#include <stdint.h>

/* Counts the primes from range[0] up to, not including, range[1]. */
int64_t count_primes(void *argument)
{
    const uint64_t *range = argument;
    int64_t count = 0;
    for (uint64_t number = range[0]; number < range[1]; number++) {
        uint64_t divisor = 2;
        while (divisor * divisor <= number && number % divisor != 0)
            divisor++;
        count += number >= 2 && divisor * divisor > number;
    }
    return count;
}
