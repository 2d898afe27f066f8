package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports come in blocks from below the range that the kernel gives to outgoing connections (32768 and up, unless
// changed): none of those can take a port in the moment between its choice and the start of its program.
const (
	firstBlock  = 20000
	blockSize   = 20
	blocksCount = (32768 - firstBlock) / blockSize
)

// ports is a block of free ports. Its first port is kept open as long as the stack runs: who holds it owns the block,
// so that two stacks never share one.
type ports struct {
	guard net.Listener
	held  map[string]net.Listener
}

func reservePorts(names ...string) (*ports, error) {
	if len(names) >= blockSize {
		return nil, fmt.Errorf("a block of ports has %d; %d are too many", blockSize, len(names))
	}
	start := rand.IntN(blocksCount)
	var last error
	for i := range blocksCount {
		p, err := reserveBlock(firstBlock+(start+i)%blocksCount*blockSize, names)
		if err == nil {
			return p, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no block of %d ports is free from %d on: %w", blockSize, firstBlock, last)
}

// reserveBlock opens all ports of a block, or none.
func reserveBlock(base int, names []string) (*ports, error) {
	guard, err := listen(base)
	if err != nil {
		return nil, err
	}
	p := &ports{guard: guard, held: map[string]net.Listener{}}
	for i, name := range names {
		listener, err := listen(base + 1 + i)
		if err != nil {
			p.releaseAll()
			return nil, errors.Join(err, guard.Close())
		}
		p.held[name] = listener
	}
	return p, nil
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// address is the host:port of a name, also once the port is released.
func (p *ports) address(name string) string { return p.held[name].Addr().String() }

func (p *ports) port(name string) int { return p.held[name].Addr().(*net.TCPAddr).Port }

// release lets go of ports: right before the program that listens on them starts.
func (p *ports) release(names ...string) {
	for _, name := range names {
		p.held[name].Close()
	}
}

// releaseAll lets go of all ports but the block.
func (p *ports) releaseAll() {
	for name := range p.held {
		p.release(name)
	}
}
