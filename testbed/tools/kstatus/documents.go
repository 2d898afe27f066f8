package main

import "bytes"

// documents splits a stream of YAML documents.
func documents(text []byte) [][]byte {
	return bytes.Split(append([]byte("\n"), text...), []byte("\n---\n"))
}
