package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"cowhand/dmcore"
)

// maxLine bounds a line of the control protocol in bytes. A table line is about
// 40 bytes, so this is a volume of some 400,000 segments.
const maxLine = 16 << 20

// The engine's own verbs, beside the names of the dmcore commands.
const (
	verbCancel = "cancel"
	verbEngine = "engine"
	verbStop   = "stop"
)

// request is one line from a client. IDs are the client's choice, not zero and
// not in use by a request of the same connection that is still unanswered. A
// cancel names the request it cancels and is not answered itself.
type request struct {
	ID    uint64          `json:"id"`
	Cmd   string          `json:"cmd"`
	Req   *dmcore.Request `json:"req,omitempty"`
	Force bool            `json:"force,omitempty"` // of stop
}

// response is one line from the server. ID 0 speaks of the connection, which
// ends after it.
type response struct {
	ID     uint64        `json:"id"`
	Reply  *dmcore.Reply `json:"reply,omitempty"`
	Engine *Info         `json:"engine,omitempty"`
	Error  *wireError    `json:"error,omitempty"`
}

// command returns the dmcore command of the request; ok is false for one of the
// engine's own verbs.
func (r *request) command() (cmd dmcore.Command, ok bool) {
	ok = cmd.UnmarshalText([]byte(r.Cmd)) == nil
	return cmd, ok
}

// decodeRequest reads a line from a client. It is strict, so that a server
// never drops a field which a newer client relies on. With an error comes the
// id of the request that is wrong, or 0 if the line as a whole is.
func decodeRequest(line []byte) (*request, uint64, error) {
	// encoding/json would turn bytes that are no UTF-8 into U+FFFD, and a table
	// would then name another path.
	if !utf8.Valid(line) {
		return nil, 0, fmt.Errorf("request: not UTF-8: %w", dmcore.ErrInvalid)
	}
	var envelope struct {
		ID    uint64          `json:"id"`
		Cmd   string          `json:"cmd"`
		Req   json.RawMessage `json:"req"`
		Force bool            `json:"force"`
	}
	if err := decodeStrict(line, &envelope); err != nil {
		return nil, 0, fmt.Errorf("request: %w", err)
	}
	r := &request{ID: envelope.ID, Cmd: envelope.Cmd, Force: envelope.Force}
	if r.ID == 0 {
		return nil, 0, fmt.Errorf("request: no id: %w", dmcore.ErrInvalid)
	}
	_, isDM := r.command()
	switch {
	case isDM:
		r.Req = &dmcore.Request{}
		if envelope.Req != nil {
			if err := decodeStrict(envelope.Req, r.Req); err != nil {
				return nil, r.ID, err
			}
		}
	case r.Cmd != verbCancel && r.Cmd != verbEngine && r.Cmd != verbStop:
		return nil, r.ID, fmt.Errorf("command %q: %w", r.Cmd, dmcore.ErrNotSupported)
	case envelope.Req != nil:
		return nil, r.ID, fmt.Errorf("%s takes no arguments: %w", r.Cmd, dmcore.ErrInvalid)
	}
	return r, r.ID, nil
}

// decodeStrict reads one JSON value and nothing after it.
func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return asInvalid(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one value: %w", dmcore.ErrInvalid)
	}
	return nil
}

// asInvalid marks an error of decoding that is not marked yet: a table says
// itself what is wrong with it.
func asInvalid(err error) error {
	if errors.Is(err, dmcore.ErrInvalid) || errors.Is(err, dmcore.ErrNotSupported) {
		return err
	}
	return fmt.Errorf("%w: %w", err, dmcore.ErrInvalid)
}

// encode makes one line of v.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) >= maxLine {
		return nil, fmt.Errorf("control message: %d bytes, at most %d: %w", len(b), maxLine-1, dmcore.ErrInvalid)
	}
	return append(b, '\n'), nil
}

// checkText refuses names and tables that JSON cannot carry unchanged.
func checkText(r *dmcore.Request) error {
	for _, s := range []string{string(r.Name), string(r.UUID), string(r.NewName), string(r.NewUUID), r.Table.String(), r.Text} {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%q is not UTF-8: %w", s, dmcore.ErrInvalid)
		}
	}
	return nil
}

var errLineTooLong = errors.New("line too long")

// readLine returns the next line without its newline. The end of the stream
// within a line is io.ErrUnexpectedEOF. The result is the caller's.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, fmt.Errorf("%w: more than %d bytes", errLineTooLong, limit)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case err == bufio.ErrBufferFull:
		case err == io.EOF && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}
