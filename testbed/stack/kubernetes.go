package main

import (
	"context"
	"os/exec"
	"strconv"
)

// startKubernetes starts etcd, the API server and the controllers, and applies what the operator needs.
func (s *stack) startKubernetes(ctx context.Context) error {
	// The chart needs no cluster: it is rendered meanwhile.
	rendered := make(chan renderedChart, 1)
	go func() {
		documents, err := s.renderRBAC(ctx)
		rendered <- renderedChart{documents, err}
	}()
	if err := s.startEtcd(ctx); err != nil {
		return err
	}
	if err := s.startAPIServer(ctx); err != nil {
		return err
	}
	close(s.apiReady)
	return parallel(ctx,
		s.startControllerManager,
		s.applyResources,
		func(ctx context.Context) error {
			chart := <-rendered
			if chart.err != nil {
				return chart.err
			}
			return s.applyRBAC(ctx, chart.documents)
		})
}

type renderedChart struct {
	documents []byte
	err       error
}

func (s *stack) startEtcd(ctx context.Context) error {
	client, peer := "https://"+s.ports.address(portEtcd), "https://"+s.ports.address(portEtcdPeer)
	cmd := exec.Command(s.layout.program("etcd"),
		"--data-dir", s.layout.data("etcd"),
		"--listen-client-urls", client,
		"--advertise-client-urls", client,
		"--listen-peer-urls", peer,
		"--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default="+peer,
		"--cert-file", s.layout.pki("server.pem"),
		"--key-file", s.layout.pki("server.key"),
		"--client-cert-auth",
		"--trusted-ca-file", s.layout.caBundle(),
		"--peer-cert-file", s.layout.pki("server.pem"),
		"--peer-key-file", s.layout.pki("server.key"),
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file", s.layout.caBundle(),
		"--log-level", "warn",
		// The data goes when the stack goes: nothing is lost by not waiting for the disk.
		"--unsafe-no-fsync")
	s.ports.release(portEtcd, portEtcdPeer)
	etcd, err := s.children.run("etcd", cmd)
	if err != nil {
		return err
	}
	return etcd.waitReady(ctx, startLimit, httpOK(s.kube, client+"/health"))
}

func (s *stack) startAPIServer(ctx context.Context) error {
	pki := s.layout.pki
	cmd := exec.Command(s.layout.program("kube-apiserver"),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(s.ports.port(portAPIServer)),
		// Nothing reaches the service `kubernetes` without a network of pods; a loopback address can't be its endpoint.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--etcd-servers=https://"+s.ports.address(portEtcd),
		"--etcd-cafile="+s.layout.caBundle(),
		"--etcd-certfile="+pki("admin.pem"),
		"--etcd-keyfile="+pki("admin.key"),
		"--tls-cert-file="+pki("server.pem"),
		"--tls-private-key-file="+pki("server.key"),
		"--client-ca-file="+s.layout.caBundle(),
		"--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+pki("sa.pub"),
		"--service-account-signing-key-file="+pki("sa.key"),
		"--kubelet-certificate-authority="+s.layout.caBundle(),
		"--kubelet-client-certificate="+pki("admin.pem"),
		"--kubelet-client-key="+pki("admin.key"),
		"--kubelet-preferred-address-types=Hostname",
		"--allow-privileged=true",
		"--profiling=false")
	cmd.Args = append(cmd.Args, s.options.apiServerArgs...)
	s.ports.release(portAPIServer)
	server, err := s.children.run("kube-apiserver", cmd)
	if err != nil {
		return err
	}
	if err := server.waitReady(ctx, startLimit, httpOK(s.kube, s.apiServer()+"/readyz")); err != nil {
		return err
	}
	s.say("Kubernetes API on %s", s.apiServer())
	return nil
}

func (s *stack) startControllerManager(ctx context.Context) error {
	identity, err := s.authority.client("system:kube-controller-manager")
	if err != nil {
		return err
	}
	config := s.layout.pki("kube-controller-manager.kubeconfig")
	if err := writeFile(config, certificateKubeconfig(s.apiServer(), s.authority.pem, identity)); err != nil {
		return err
	}
	cmd := exec.Command(s.layout.program("kube-controller-manager"),
		"--kubeconfig="+config,
		"--authentication-kubeconfig="+config,
		"--authorization-kubeconfig="+config,
		"--bind-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(s.ports.port(portControllerManager)),
		"--tls-cert-file="+s.layout.pki("server.pem"),
		"--tls-private-key-file="+s.layout.pki("server.key"),
		"--root-ca-file="+s.layout.caBundle(),
		"--service-account-private-key-file="+s.layout.pki("sa.key"),
		"--use-service-account-credentials=true",
		"--leader-elect=false",
		// At the default rate its controllers take seconds to look at the API once.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--client-ca-file="+s.layout.caBundle(),
		"--authentication-skip-lookup=true",
		"--profiling=false")
	s.ports.release(portControllerManager)
	manager, err := s.children.run("kube-controller-manager", cmd)
	if err != nil {
		return err
	}
	// The controllers work once they have made the first namespace's ServiceAccount, which every pod there needs.
	return manager.waitReady(ctx, startLimit, httpOK(s.kube, s.apiServer()+"/api/v1/namespaces/default/serviceaccounts/default"))
}
