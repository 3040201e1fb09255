# What is done again and again. https://just.systems; pip install rust-just has it too.

venv := ".venv"
bin := venv / "bin"
tools := ".venv-tools/bin"
lock_options := "--universal --python-version 3.11 --generate-hashes --only-binary :all: -c constraints.txt --no-annotate --no-header"
predicting := "typer rich numpy pillow onnxruntime jinja2"

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

# Run the tests that docs/guarantees.md names, and print the result of each row, or of the rows with some words: just guarantees full disk
guarantees *words:
    {{ bin }}/python docs/check_guarantees.py {{ words }}

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

# Write the locks anew: the versions of constraints.txt, with the SHA-256 of each file on PyPI for every platform.
lock: tools
    {{ tools }}/uv pip compile -q {{ lock_options }} --extra heic --extra parquet --extra video -o requirements.lock pyproject.toml
    printf '%s\n' {{ predicting }} | {{ tools }}/uv pip compile -q {{ lock_options }} -o requirements-predict.lock -

# Write what is installed in .venv as a bill of materials (CycloneDX JSON): each package, its version and licence.
sbom file="sbom.json": tools
    {{ tools }}/cyclonedx-py environment --output-reproducible -o {{ file }} {{ bin }}/python

# What makes locks and bills of materials, beside .venv, so that it is no part of them.
[private]
tools:
    python3 -m venv .venv-tools
    {{ tools }}/pip install -q uv==0.13.9 cyclonedx-bom==7.5.0

# Fuzz one target, or all, for so many seconds each: just fuzz pictures 3600. Inputs with faults are kept in fuzz/.
fuzz target="all" seconds="60":
    {{ bin }}/python -m tests.fuzzing.fuzz {{ target }} {{ seconds }}
