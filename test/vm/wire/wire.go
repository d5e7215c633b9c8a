// Package wire is what the host and the agent in the VM say to each other over a serial port: gob
// values of one type, in both directions. The agent speaks first, with an empty message.
package wire

import (
	"encoding/gob"
	"fmt"
	"io"
	"sync"
)

// PortName is the serial port's name in the VM.
const PortName = "cowhand"

// Setup is what the agent is told by a file in its first root file system.
type Setup struct {
	Binds  []Bind // in this order
	Udev   bool
	Config string // of lvm2, beside its lvm.conf: lvmlocal.conf
}

// SetupFile is where the Setup lies, as gob.
const SetupFile = "/setup"

// Bind makes a folder of the host visible, read-only, elsewhere in the VM.
type Bind struct{ Host, Inside string }

// Message is about the command ID. One of the other fields is set; none in the agent's first word.
type Message struct {
	ID     int
	Start  *Command // host: run this
	Signal int      // host: send this to the command's process group
	Out    []byte   // agent: it said this, on standard output or error
	Exit   *Exit    // agent: it ended, and nothing more will come of it
}

// Command is a program with its arguments. It has no standard input.
type Command struct {
	Argv []string
	Env  []string // beside what every command has
}

// Exit is how a command ended.
type Exit struct {
	Status int    // its exit status; 128 + n for one that signal n ended; 127 if it could not be started
	Error  string // why it could not be started or waited for
}

// Port sends and receives messages. Send may be called by several goroutines at once.
type Port struct {
	mu  sync.Mutex
	enc *gob.Encoder
	dec *gob.Decoder
}

// NewPort speaks over a connection on which nothing was said yet.
func NewPort(rw io.ReadWriter) *Port {
	return &Port{enc: gob.NewEncoder(rw), dec: gob.NewDecoder(rw)}
}

// Send writes one message.
func (p *Port) Send(m Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.enc.Encode(m); err != nil {
		return fmt.Errorf("vm: port: send: %w", err)
	}
	return nil
}

// Receive waits for the next message.
func (p *Port) Receive() (Message, error) {
	var m Message
	if err := p.dec.Decode(&m); err != nil {
		return m, fmt.Errorf("vm: port: receive: %w", err)
	}
	return m, nil
}
