// Command hello is the program of the demo image: it greets, tells its platform, and waits or serves if asked to.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	serve := flag.String("serve", "", "answer HTTP requests with the greeting on this address, such as :8080")
	wait := flag.Bool("wait", false, "wait for SIGTERM after the greeting")
	flag.Parse()

	greeting := fmt.Sprintf("Hello! I am a program for %s/%s.\n", runtime.GOOS, runtime.GOARCH)
	fmt.Print(greeting)
	if *serve == "" && !*wait {
		return
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
	if *serve != "" {
		go func() {
			err := http.ListenAndServe(*serve, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, greeting)
			}))
			fmt.Fprintln(os.Stderr, "hello:", err)
			os.Exit(1)
		}()
	}
	<-stopped
}
