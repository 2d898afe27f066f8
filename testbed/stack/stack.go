package main

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"time"
)

const (
	awsRegion  = "eu-west-1"
	awsAccount = "123456789012"
	// hubUser may pull what is private on the Docker Hub stand-in.
	hubUser = "moby"
	// operatorNamespace is where the chart's ServiceAccount is.
	operatorNamespace = "ecr-system"
	// startLimit is how long one part may take until it is ready, on a slow and busy machine.
	startLimit = 2 * time.Minute
	// imagesLimit is how long the images may take, which are built from downloaded sources the first time.
	imagesLimit = 15 * time.Minute
)

// The listeners of the stack, by the names of their ports.
const (
	portEtcd              = "etcd"
	portEtcdPeer          = "etcd-peer"
	portAPIServer         = "kube-apiserver"
	portControllerManager = "kube-controller-manager"
	portHub               = "hub"
	portHubAuth           = "hub-auth"
	portHubPlain          = "hub-plain"
	portHubControl        = "hub-control"
	portHubSilent         = "hub-silent"
	portAWS               = "aws"
	portAWSRegistry       = "aws-registry"
	portAWSControl        = "aws-control"
	portMoto              = "moto"
	portOperator          = "operator"
	portKubelet           = "kubelet"
	portKubeletHealth     = "kubelet-health"
)

// accessKey is a key of AWS.
type accessKey struct{ id, secret string }

func newAccessKey() accessKey {
	return accessKey{
		id:     "AKIA" + base32.StdEncoding.EncodeToString(randomBytes(10)),
		secret: base64.StdEncoding.EncodeToString(randomBytes(30)),
	}
}

// stack is one run: what it was told, what it made up, and what runs.
type stack struct {
	options  options
	layout   layout
	children *children
	say      func(format string, values ...any)

	ports     *ports
	authority *authority
	admin     keyPair
	kube      *http.Client // as the cluster's administrator
	// operatorKey is the operator's, with the rights that its policies give it; testerKey may do everything.
	operatorKey accessKey
	testerKey   accessKey
	// hubPassword is that of the Docker Hub stand-in's one user, hubUser.
	hubPassword string
	// lifetime ends before anything is stopped on purpose: what ends earlier ended by itself.
	lifetime    context.Context
	endLifetime context.CancelFunc
	// apiReady is closed when the API server answers.
	apiReady chan struct{}
}

// start brings everything up, side by side where nothing depends on the other.
func (s *stack) start(ctx context.Context) error {
	s.lifetime, s.endLifetime = context.WithCancel(ctx)
	if err := s.prepare(); err != nil {
		return err
	}
	defer s.ports.releaseAll()
	platform := func(ctx context.Context) error {
		if err := parallel(ctx, s.startHub, s.startAWS, s.startMoto, s.startKubernetes); err != nil {
			return err
		}
		return s.startOperator(ctx)
	}
	if err := parallel(ctx, platform, s.startNode); err != nil {
		return err
	}
	return s.writeEnv()
}

// prepare makes what several parts share: ports, certificates, credentials.
func (s *stack) prepare() error {
	var err error
	s.ports, err = reservePorts(portEtcd, portEtcdPeer, portAPIServer, portControllerManager, portHub, portHubAuth,
		portHubPlain, portHubControl, portHubSilent, portAWS, portAWSRegistry, portAWSControl, portMoto, portOperator, portKubelet, portKubeletHealth)
	if err != nil {
		return err
	}
	if s.authority, err = newAuthority(); err != nil {
		return err
	}
	server, err := s.authority.server()
	if err != nil {
		return err
	}
	if s.admin, err = s.authority.client("admin", "system:masters"); err != nil {
		return err
	}
	private, public, err := signingKey()
	if err != nil {
		return err
	}
	if s.kube, err = tlsClient(s.authority.pem, s.admin); err != nil {
		return err
	}
	s.operatorKey, s.testerKey = newAccessKey(), newAccessKey()
	s.hubPassword = base32.StdEncoding.EncodeToString(randomBytes(10))
	s.apiReady = make(chan struct{})
	return writeFiles(map[string][]byte{
		s.layout.caBundle():        s.authority.pem,
		s.layout.pki("server.pem"): server.certificate,
		s.layout.pki("server.key"): server.key,
		s.layout.pki("admin.pem"):  s.admin.certificate,
		s.layout.pki("admin.key"):  s.admin.key,
		s.layout.pki("sa.key"):     private,
		s.layout.pki("sa.pub"):     public,
		s.layout.kubeconfig():      certificateKubeconfig(s.apiServer(), s.authority.pem, s.admin),
	})
}

// stop ends everything: first who uses, then who is used.
func (s *stack) stop() error {
	s.endLifetime()
	s.children.stop(10*time.Second, "operator")
	nodeErr := s.stopNode()
	s.children.stop(time.Second, "kube-controller-manager")
	// Nothing they hold is kept, so a short grace does.
	s.children.stop(time.Second, "kube-apiserver", "hub", "aws", motoProgram)
	s.children.stop(time.Second, "etcd")
	return errors.Join(nodeErr, s.children.endAll())
}

// startHub starts the Docker Hub stand-in and pushes the demo images to it.
func (s *stack) startHub(ctx context.Context) error {
	cmd := exec.Command(s.layout.program("hub"),
		"--listen", s.ports.address(portHub),
		"--auth-listen", s.ports.address(portHubAuth),
		"--plain-listen", s.ports.address(portHubPlain),
		"--control-listen", s.ports.address(portHubControl),
		"--silent-listen", s.ports.address(portHubSilent),
		"--tls-cert", s.layout.pki("server.pem"),
		"--tls-key", s.layout.pki("server.key"),
		"--storage", s.layout.data("hub"),
		"--user", hubUser+":"+s.hubPassword)
	s.ports.release(portHub, portHubAuth, portHubPlain, portHubControl, portHubSilent)
	hub, err := s.children.run("hub", cmd)
	if err != nil {
		return err
	}
	if err := hub.waitReady(ctx, startLimit, httpOK(plainClient(), s.hubControl()+"/healthz")); err != nil {
		return err
	}
	if err := s.images(ctx, "push", "--registry", s.ports.address(portHubPlain)); err != nil {
		return err
	}
	s.say("Docker Hub stand-in with the demo images on %s", s.ports.address(portHub))
	return nil
}

// startAWS starts the AWS stand-in.
func (s *stack) startAWS(ctx context.Context) error {
	cmd := exec.Command(s.layout.program("aws"),
		"--api-listen", s.ports.address(portAWS),
		"--registry-listen", s.ports.address(portAWSRegistry),
		"--control-listen", s.ports.address(portAWSControl),
		"--tls-cert", s.layout.pki("server.pem"),
		"--tls-key", s.layout.pki("server.key"),
		"--region", awsRegion,
		"--account", awsAccount,
		"--access-key", s.operatorKey.id,
		"--secret-key", s.operatorKey.secret,
		"--admin-access-key", s.testerKey.id,
		"--admin-secret-key", s.testerKey.secret)
	for _, policy := range s.options.iamPolicies {
		cmd.Args = append(cmd.Args, "--iam-policy", policy)
	}
	s.ports.release(portAWS, portAWSRegistry, portAWSControl)
	aws, err := s.children.run("aws", cmd)
	if err != nil {
		return err
	}
	if err := aws.waitReady(ctx, startLimit, httpOK(plainClient(), s.awsControl()+"/healthz")); err != nil {
		return err
	}
	s.say("AWS stand-in on %s, its registry on %s", s.awsEndpoint(), s.ports.address(portAWSRegistry))
	return nil
}

func (s *stack) apiServer() string   { return "https://" + s.ports.address(portAPIServer) }
func (s *stack) awsEndpoint() string { return "https://" + s.ports.address(portAWS) }
func (s *stack) awsControl() string  { return "http://" + s.ports.address(portAWSControl) }
func (s *stack) hubControl() string  { return "http://" + s.ports.address(portHubControl) }

// tool runs a program of testbed/bin to its end and returns what it printed.
func (s *stack) tool(ctx context.Context, name string, input []byte, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return runTool(ctx, s.layout.program(name), s.toolEnv(), input, args...)
}

// images runs the image builder, in the user's own environment: it builds what is not in the user's cache yet, which
// takes a while the first time.
func (s *stack) images(ctx context.Context, args ...string) error {
	hint := time.AfterFunc(5*time.Second, func() { s.say("building images (images %s); the next time they come from the cache", args[0]) })
	defer hint.Stop()
	ctx, cancel := context.WithTimeout(ctx, imagesLimit)
	defer cancel()
	// A shell that sourced DIR/env trusts the test CA alone: no download would work.
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return variable == "SSL_CERT_FILE="+s.layout.caBundle()
	})
	_, err := runTool(ctx, s.layout.program("images"), env, nil, args...)
	return err
}

// toolEnv is the environment of such programs: nothing of the user's own configuration.
func (s *stack) toolEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.layout.home(), "KUBECONFIG=" + s.layout.kubeconfig()}
}

func randomBytes(count int) []byte {
	bytes := make([]byte, count)
	_, _ = rand.Read(bytes) // crypto/rand never fails: it ends the program instead
	return bytes
}
