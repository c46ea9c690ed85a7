print("ociregistry")
