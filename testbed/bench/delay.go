package main

import (
	"net"
	"sync"
	"time"
)

// window is what may be under way on one connection in one direction, as with a TCP window that has grown to what Linux
// allows by default.
const window = 4 << 20

const piece = 64 << 10

// delay hands connections on to a server, and every byte later than it came, in both directions. It bounds what is under
// way and nothing else: bandwidth is the machine's.
func delay(listener net.Listener, server string, by time.Duration) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			// The handshake takes a round trip, too.
			time.Sleep(2 * by)
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				return
			}
			defer upstream.Close()
			var both sync.WaitGroup
			both.Go(func() { pipe(upstream, client, by) })
			both.Go(func() { pipe(client, upstream, by) })
			both.Wait()
		}()
	}
}

type late struct {
	bytes []byte
	due   time.Time
}

var buffers = sync.Pool{New: func() any { return make([]byte, piece) }}

func pipe(to, from net.Conn, by time.Duration) {
	queue := make(chan late, window/piece)
	go func() {
		defer close(queue)
		for {
			buffer := buffers.Get().([]byte)[:piece]
			n, err := from.Read(buffer)
			if n > 0 {
				queue <- late{buffer[:n], time.Now().Add(by)}
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for next := range queue {
		if !broken {
			time.Sleep(time.Until(next.due))
			_, err := to.Write(next.bytes)
			if err != nil {
				broken = true
				// Who sends finds out by the closing.
				_ = from.Close()
			}
		}
		buffers.Put(next.bytes[:piece])
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
