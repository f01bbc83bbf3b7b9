"""Reads the exported XYZ files with ASE, and compares them with the previews from which they were written."""

import json
import pathlib
import sys

import ase.io

jobs, folder = sys.argv[1:]
compared = 0
for line in open(jobs, encoding="utf-8"):
    job = json.loads(line)
    preview = job.get("molecule_preview")
    if not preview:
        continue
    elements = [atom["element"] for atom in preview["atoms"]]
    (path,) = pathlib.Path(folder).glob(f"*.{job['job_id']}.xyz")
    if not elements or not all(element in ase.data.chemical_symbols for element in elements):
        continue  # invented by schemathesis
    molecule = ase.io.read(path, format="xyz")
    assert molecule.get_chemical_symbols() == elements, path
    for mine, theirs in zip(preview["atoms"], molecule.get_positions()):
        assert all(abs(a - b) < 1e-8 for a, b in zip(mine["position"], theirs)), path
    compared += 1
assert compared >= 100, compared
print(f"{compared} molecules are read back unchanged")
