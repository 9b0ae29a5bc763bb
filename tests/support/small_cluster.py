"""What a node of the clusters of tests has."""

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
