"""From functions to what Nuclio, containers and Kubernetes run: plain data in, files and requests out."""
