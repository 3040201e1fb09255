# What is done again and again. https://just.systems; pip install rust-just has it too.

venv := ".venv"
bin := venv / "bin"

# List these recipes.
default:
    @{{ just_executable() }} --list --unsorted

# Make .venv with all that development needs.
setup:
    python3 -m venv {{ venv }}
    {{ bin }}/pip install -q -c constraints.txt -e '.[dev]'

# Check format, lint and types.
lint:
    {{ bin }}/ruff format --check .
    {{ bin }}/ruff check .
    {{ bin }}/mypy

# Run all tests, or those of some files: just test tests/networks
test *paths:
    {{ bin }}/python -m pytest {{ paths }}

# Test the wheel on every Python, with the lowest and the newest versions of its dependencies; it downloads much.
versions:
    .ci/versions

# Write the generated pages, and check all pages.
docs:
    {{ bin }}/python docs/make_commands.py
    {{ bin }}/python -m pytest -q tests/test_docs.py

# Run one benchmark: just bench start
bench name *options:
    {{ bin }}/python tests/benchmarks/{{ name }}.py {{ options }}

# Measure the lines and branches that the tests run, in processes that they start too.
coverage *paths:
    {{ bin }}/python -m coverage erase
    -{{ bin }}/python -m coverage run -m pytest {{ paths }}
    {{ bin }}/python -m coverage combine -q
    {{ bin }}/python -m coverage report

# Change emotify a little at many places, and count the changes that no test notices: just mutants --number 12 FILES
mutants *options:
    {{ bin }}/python tests/mutation.py {{ options }}
