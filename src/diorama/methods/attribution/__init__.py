"""Attribution methods: why this answer? One method a file."""
