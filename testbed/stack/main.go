// Command stack starts, watches and stops the local stack: Kubernetes, the Docker Hub and AWS stand-ins, the operator
// and, where the machine allows it, a node. testbed/README.md describes it. It runs on Linux.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

const usage = `usage: stack COMMAND [flags]

  up       start the stack and return when it is ready; 'stack up -h' shows its flags
  down     stop it and remove what it wrote, its logs excepted
  status   show its processes
  logs     print the log of one of them: stack logs NAME

Every command takes --run-dir DIR (default: testbed/run).
`

func main() {
	err := run(os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return flag.ErrHelp
	}
	command, args := args[0], args[1:]
	switch command {
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	case "up":
		return up(args)
	case "down":
		return down(args)
	case "status":
		return status(args)
	case "logs":
		return logs(args)
	case superviseCommand:
		return supervise(args)
	case nodeInitCommand:
		return nodeInit(args)
	case nodeProbeCommand:
		return nodeProbe()
	}
	return fmt.Errorf("there is no command %q; 'stack help' lists them", command)
}
