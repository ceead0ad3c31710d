"""Checks documents against a JSON Schema: SCHEMA, and the documents. Prints the first fault of each."""

import json
import sys

from jsonschema import Draft202012Validator

schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
for path in sys.argv[2:]:
    for error in list(Draft202012Validator(schema).iter_errors(json.load(open(path))))[:1]:
        print(f"{path}: {list(error.absolute_path)}: {error.message}")
