module github.com/ecr-operator/ecr-operator/testbed/stack

go 1.26.0
