#!/usr/bin/env bash
# Builds the site of the Python package, where a page that is missing, a link to nowhere or a name that is not there fails.
#
#   scripts/check-docs.sh
#
# The site is then in target/python-docs.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need python3=python3 python3-venv=/usr/share/doc/python3-venv

environment=$root/target/python-docs-venv
requirements=(mkdocs==1.6.1 "mkdocs-material>=9.5,<10" "mkdocstrings[python]>=0.26,<2")
if [[ ! -x $environment/bin/mkdocs ]]; then
    note "installing ${requirements[*]}"
    python3 -m venv --clear "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check "${requirements[@]}" ||
        not_run "mkdocs cannot be installed"
fi
NO_MKDOCS_2_WARNING=1 "$environment/bin/mkdocs" build --quiet --strict --config-file bindings/python/mkdocs.yml
note "$(find target/python-docs -name '*.html' | wc -l) pages in target/python-docs"
