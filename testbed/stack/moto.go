package main

import (
	"context"
	"net"
	"os/exec"
)

// motoProgram is the program of moto_server, and its name among the processes.
const motoProgram = "moto"

// startMoto starts moto_server: a second implementation of ECR's API, without a registry API and without rights.
func (s *stack) startMoto(ctx context.Context) error {
	s.ports.release(portMoto)
	if !s.options.moto {
		return nil
	}
	host, port, err := net.SplitHostPort(s.ports.address(portMoto))
	if err != nil {
		return err
	}
	cmd := exec.Command(s.layout.program(motoProgram), "--host", host, "--port", port,
		"--ssl-cert", s.layout.pki("server.pem"), "--ssl-key", s.layout.pki("server.key"))
	moto, err := s.children.run(motoProgram, cmd)
	if err != nil {
		return err
	}
	client, err := tlsClient(s.authority.pem, s.admin)
	if err != nil {
		return err
	}
	if err := moto.waitReady(ctx, startLimit, httpOK(client, s.motoEndpoint()+"/moto-api/data.json")); err != nil {
		return err
	}
	s.say("moto_server on %s", s.motoEndpoint())
	return nil
}

// motoEndpoint is empty where moto_server does not run.
func (s *stack) motoEndpoint() string {
	if !s.options.moto {
		return ""
	}
	return "https://" + s.ports.address(portMoto)
}
