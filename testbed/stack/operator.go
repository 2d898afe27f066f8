package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startOperator starts the operator under the chart's ServiceAccount. Its configuration is written in any case: whoever
// leaves the operator out may start one.
func (s *stack) startOperator(ctx context.Context) error {
	if err := writeFile(s.layout.registriesConfig(), s.registriesConfig()); err != nil {
		return err
	}
	s.ports.release(portOperator)
	if s.options.operator == operatorOff {
		return nil
	}
	args := append([]string{"run", "--listen", s.ports.address(portOperator), "--registries-config", s.layout.registriesConfig()},
		s.options.operatorArgs...)
	run := func() (*child, error) {
		cmd := exec.Command(s.options.operator, args...)
		cmd.Env = s.operatorEnv()
		return s.children.run("operator", cmd)
	}
	operator, err := run()
	if err != nil {
		return err
	}
	url := "http://" + s.ports.address(portOperator)
	if err := operator.waitReady(ctx, startLimit, httpOK(plainClient(), url+"/readyz")); err != nil {
		return err
	}
	s.say("operator on %s", url)
	go s.keepRunning(operator, run)
	return nil
}

// keepRunning starts the operator again when it ends by itself, as a kubelet does.
func (s *stack) keepRunning(operator *child, run func() (*child, error)) {
	for {
		<-operator.ended
		select {
		case <-s.lifetime.Done():
			return
		case <-time.After(time.Second):
		}
		next, err := run()
		if err != nil {
			fmt.Fprintln(os.Stderr, "stack: the operator can't be started again:", err)
			return
		}
		operator = next
	}
}

// operatorEnv is all of the operator's environment, so that nothing of the user's own AWS configuration is in it.
func (s *stack) operatorEnv() []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + s.layout.home(),
		"KUBECONFIG=" + s.layout.operatorKubeconfig(),
		"AWS_ENDPOINT_URL=" + s.awsEndpoint(),
		"AWS_REGION=" + awsRegion,
		"AWS_ACCESS_KEY_ID=" + s.operatorKey.id,
		"AWS_SECRET_ACCESS_KEY=" + s.operatorKey.secret,
		"AWS_EC2_METADATA_DISABLED=true",
		"ECR_OPERATOR_OPERATOR_NAMESPACE=" + operatorNamespace,
		"ECR_OPERATOR_CLUSTER_ROLE=" + releaseName,
		"SSL_CERT_FILE=" + s.layout.caBundle(),
	}
	for _, name := range []string{"RUST_LOG", "RUST_BACKTRACE"} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// registriesConfig makes the operator find Docker Hub on this machine. The same registry has other names for tests that
// would disturb others under its own, and one name is a registry's that never answers.
func (s *stack) registriesConfig() []byte {
	config := []byte("registries:\n")
	for _, name := range []struct{ host, more string }{
		{"docker.io", ""},
		{"slow.test", ""},
		{"busy.test", ""},
		{"crowd.test", ""},
		{"shared.test", "  pullBudgetFloor: 4\n"},
		{"public.ecr.aws", "  useIdentity: true\n"},
	} {
		config = fmt.Appendf(config, `- host: %s
  endpoint: https://%s
  tokenRealms: ["https://%s"]
%s  caBundle: |
%s`, name.host, s.ports.address(portHub), s.ports.address(portHubAuth), name.more, indent(s.authority.pem, 4))
	}
	return fmt.Appendf(config, "- host: silent.test\n  endpoint: https://%s\n", s.ports.address(portHubSilent))
}

// writeEnv writes DIR/env, a file to source in a shell.
func (s *stack) writeEnv() error {
	operator := s.options.operator
	if operator == operatorOff {
		operator = filepath.Join(s.layout.root, "target", "release", "ecr-operator")
	}
	var b strings.Builder
	for _, variable := range [][2]string{
		{"KUBECONFIG", s.layout.kubeconfig()},
		{"AWS_ENDPOINT_URL", s.awsEndpoint()},
		{"AWS_REGION", awsRegion},
		{"AWS_DEFAULT_REGION", awsRegion}, // the AWS CLI's name for it
		{"AWS_CA_BUNDLE", s.layout.caBundle()},
		{"AWS_ACCESS_KEY_ID", s.testerKey.id},
		{"AWS_SECRET_ACCESS_KEY", s.testerKey.secret},
		{"OPERATOR_AWS_ACCESS_KEY_ID", s.operatorKey.id},
		{"OPERATOR_AWS_SECRET_ACCESS_KEY", s.operatorKey.secret},
		{"AWS_EC2_METADATA_DISABLED", "true"},
		{"AWS_ACCOUNT_ID", awsAccount},
		{"SSL_CERT_FILE", s.layout.caBundle()},
		{"ECR_REGISTRY", s.ports.address(portAWSRegistry)},
		{"ECR_OPERATOR", operator},
		{"UPSTREAM_REGISTRY", s.ports.address(portHubPlain)},
		{"HUB_REGISTRY", s.ports.address(portHub)},
		{"HUB_AUTH", s.ports.address(portHubAuth)},
		{"HUB_USER", hubUser},
		{"HUB_PASSWORD", s.hubPassword},
		{"HUB_CONTROL_URL", s.hubControl()},
		{"AWS_CONTROL_URL", s.awsControl()},
		{"MOTO_ENDPOINT_URL", s.motoEndpoint()},
		{"OPERATOR_METRICS_URL", "http://" + s.ports.address(portOperator) + "/metrics"},
		{"OPERATOR_KUBECONFIG", s.layout.operatorKubeconfig()},
		{"REGISTRIES_CONFIG", s.layout.registriesConfig()},
		{"RUN_DIR", s.layout.dir},
		{"TESTBED_BIN", filepath.Join(s.layout.testbed(), "bin")},
		{"NODE", s.children.node()},
	} {
		fmt.Fprintf(&b, "export %s=%s\n", variable[0], shellQuote(variable[1]))
	}
	return writeFile(s.layout.env(), []byte(b.String()))
}
