#!/usr/bin/env python3
"""Writes a GGUF file's twin with every weight as F32, for comparing engines without their activation rounding.

    python3 evals/dequantize.py MODEL.gguf TWIN.gguf

A product of quantised weights rounds its inputs to 8 bits, each engine in its own way, and one different
rounding in an early layer changes many in the later ones. The twin holds the same numbers, so that two
engines that compute the same thing say the same. Needs the Python package gguf.
"""

import sys

import gguf
import numpy as np


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reader = gguf.GGUFReader(sys.argv[1])
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(sys.argv[2], architecture)
    for field in reader.fields.values():
        virtual = field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE
        if virtual or field.name == gguf.Keys.General.FILE_TYPE:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.ascontiguousarray(weights, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
