package main

import (
	"encoding/base64"
	"fmt"
)

// kubeconfig returns a client configuration for the API server with one user.
func kubeconfig(server string, ca []byte, user string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: testbed
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: user
  user: {%s}
contexts:
- name: testbed
  context: {cluster: testbed, user: user}
current-context: testbed
`, server, base64.StdEncoding.EncodeToString(ca), user)
}

func certificateKubeconfig(server string, ca []byte, pair keyPair) []byte {
	return kubeconfig(server, ca, fmt.Sprintf("client-certificate-data: %s, client-key-data: %s",
		base64.StdEncoding.EncodeToString(pair.certificate), base64.StdEncoding.EncodeToString(pair.key)))
}

func tokenKubeconfig(server string, ca []byte, token string) []byte {
	return kubeconfig(server, ca, fmt.Sprintf("token: %q", token))
}
