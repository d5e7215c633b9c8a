package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"cowhand/dmcore/blockdev"

	"github.com/google/go-cmp/cmp"
)

// converse sends in to a server that knows nothing yet, and returns what it
// answers and whether it hung up before the client did.
func converse(t *testing.T, s *Server, in []byte) (out []byte, hungUp bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var got bytes.Buffer
		end := make(chan struct{})
		go func() { io.Copy(&got, near); close(end) }()
		served := make(chan struct{})
		go func() { s.serveConn(t.Context(), context.Background(), far); close(served) }()
		near.Write(in) // fails when the server hangs up early
		synctest.Wait()
		select {
		case <-served:
			hungUp = true
		default:
		}
		near.Close()
		<-end
		<-served
		out = got.Bytes()
	})
	return out, hungUp
}

// script is what a client says, from its flags on.
func script(flags uint32, options ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, flags)
	for _, o := range options {
		b = append(b, o...)
	}
	return b
}

var optionNames = map[uint32]string{optExportName: "EXPORT_NAME", optAbort: "ABORT", optList: "LIST", optInfo: "INFO",
	optGo: "GO", optStructuredReply: "STRUCTURED_REPLY", optListMetaContext: "LIST_META", optSetMetaContext: "SET_META"}

var replyNames = map[uint32]string{repAck: "ack", repErrUnsup: "unsup", repErrPolicy: "policy", repErrInvalid: "invalid",
	repErrPlatform: "platform", repErrUnknown: "unknown", repErrShutdown: "shutdown", repErrTooBig: "too big"}

// transcript puts what a server said during negotiation into words.
func transcript(out []byte, hungUp bool) string {
	var w strings.Builder
	if len(out) < 18 || binary.BigEndian.Uint64(out) != magicInit || binary.BigEndian.Uint64(out[8:]) != magicOption {
		return fmt.Sprintf("no greeting: %x", out)
	}
	if f := binary.BigEndian.Uint16(out[16:]); f != flagFixedNewstyle|flagNoZeroes {
		fmt.Fprintf(&w, "handshake flags %#x\n", f)
	}
	out = out[18:]
	for len(out) >= 20 && binary.BigEndian.Uint64(out) == magicRep {
		opt, kind := binary.BigEndian.Uint32(out[8:]), binary.BigEndian.Uint32(out[12:])
		data := out[20:][:binary.BigEndian.Uint32(out[16:])]
		out = out[20+len(data):]
		name := optionNames[opt]
		if name == "" {
			name = fmt.Sprint(opt)
		}
		fmt.Fprintf(&w, "%s: %s\n", name, optionReply(kind, data))
	}
	if len(out) > 0 {
		fmt.Fprintf(&w, "%d bytes: size %d, flags %#x\n", len(out), binary.BigEndian.Uint64(out), binary.BigEndian.Uint16(out[8:]))
	}
	if hungUp {
		w.WriteString("hangs up\n")
	}
	return w.String()
}

func optionReply(kind uint32, data []byte) string {
	switch kind {
	case repServer:
		name, rest, _ := cutString(data)
		return fmt.Sprintf("export %q %q", name, rest)
	case repMetaContext:
		return fmt.Sprintf("context %d %s", binary.BigEndian.Uint32(data), data[4:])
	case repInfo:
		b := data[2:]
		switch binary.BigEndian.Uint16(data) {
		case infoExport:
			return fmt.Sprintf("size %d, flags %#x", binary.BigEndian.Uint64(b), binary.BigEndian.Uint16(b[8:]))
		case infoBlockSize:
			return fmt.Sprintf("blocks %d %d %d", binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]))
		case infoName:
			return fmt.Sprintf("name %q", b)
		case infoDescription:
			return fmt.Sprintf("description %q", b)
		}
	}
	if len(data) > 0 {
		return fmt.Sprintf("%s (%s)", replyNames[kind], data)
	}
	return replyNames[kind]
}

func TestNegotiate(t *testing.T) {
	const (
		newstyle = flagFixedNewstyle | flagNoZeroes
		// HAS_FLAGS FLUSH FUA TRIM WRITE_ZEROES MULTI_CONN CACHE FAST_ZERO
		flags = "0xd6d"
	)
	long := strings.Repeat("x", maxString+1)
	structured := option(optStructuredReply, nil)
	goRoot := "GO: size 65536, flags " + flags + "\nGO: blocks 512 4096 33554432\nGO: ack\n"
	raw := func(magic uint64, opt, size uint32) []byte {
		b := binary.BigEndian.AppendUint64(nil, magic)
		b = binary.BigEndian.AppendUint32(b, opt)
		return binary.BigEndian.AppendUint32(b, size)
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"silence", nil, ""},
		{"unknown client flag", script(4), "hangs up\n"},
		{"bad option magic", script(newstyle, raw(magicOption+1, optGo, 0)), "hangs up\n"},
		{"oversize option", script(newstyle, raw(magicOption, 99, maxOption+1)), "hangs up\n"},
		{"huge option", script(newstyle, raw(magicOption, optExportName, 1<<32-1)), "hangs up\n"},
		{"largest option", script(newstyle, option(99, make([]byte, maxOption))), "99: unsup\n"},
		{"unknown options", script(newstyle, option(5, nil), option(11, []byte("data")), option(1<<31, nil)),
			"5: unsup\n11: unsup\n2147483648: unsup\n"},
		{"abort", script(newstyle, option(optAbort, []byte("ignored"))), "ABORT: ack\nhangs up\n"},
		{"list", script(newstyle, option(optList, nil)),
			"LIST: export \"broken\" \"\"\nLIST: export \"vg/root\" \"the root\"\nLIST: export \"vg/swap\" \"\"\nLIST: ack\n"},
		{"list with data", script(newstyle, option(optList, []byte{1})), "LIST: invalid (option carries data)\n"},

		{"export name", script(newstyle, option(optExportName, []byte("vg/root"))), "10 bytes: size 65536, flags " + flags + "\n"},
		{"export name with zeroes", script(0, option(optExportName, []byte("vg/root"))), "134 bytes: size 65536, flags " + flags + "\n"},
		{"export name after structured replies", script(newstyle, structured, option(optExportName, []byte("vg/root"))),
			"STRUCTURED_REPLY: ack\n10 bytes: size 65536, flags 0xded\n"},
		{"export name unknown", script(newstyle, option(optExportName, []byte("vg/none"))), "hangs up\n"},
		{"export name too long", script(newstyle, option(optExportName, []byte(long))), "hangs up\n"},

		{"go", script(newstyle, option(optGo, infoOption("vg/root"))), goRoot},
		{"go, everything asked for, and more", script(newstyle, option(optGo, infoOption("vg/root", 3, 1, 2, 77))),
			strings.Replace(goRoot, "GO: ack", "GO: name \"vg/root\"\nGO: description \"the root\"\nGO: ack", 1)},
		{"info, then go", script(newstyle, option(optInfo, infoOption("vg/root")), option(optGo, infoOption("vg/root"))),
			strings.ReplaceAll(goRoot, "GO", "INFO") + goRoot},
		{"go read-only, large blocks", script(newstyle, structured, option(optGo, infoOption("vg/swap"))),
			"STRUCTURED_REPLY: ack\nGO: size 8192, flags 0x58f\nGO: blocks 4096 8192 33554432\nGO: ack\n"},
		{"go unknown, then known", script(newstyle, option(optGo, infoOption("")), option(optGo, infoOption("vg/root"))),
			"GO: unknown (file does not exist)\n" + goRoot},
		{"go broken", script(newstyle, option(optGo, infoOption("broken"))), "GO: unknown (it is broken)\n"},
		{"go malformed", script(newstyle,
			option(optGo, nil),
			option(optGo, []byte{0, 0, 0, 9, 'x', 0, 0}),                 // name longer than the option
			option(optGo, []byte{0xff, 0xff, 0xff, 0xff, 0, 0}),          // much longer
			option(optGo, lengthAndString(nil, "vg/root")),               // no count
			option(optGo, append(lengthAndString(nil, "vg/root"), 0, 1)), // count without a kind
			option(optGo, append(infoOption("vg/root"), 0)),              // a byte too many
			option(optGo, infoOption(long)),
			option(optGo, infoOption("a\x00b")),
			option(optGo, infoOption("\xff"))),
			strings.Repeat("GO: invalid (malformed option)\n", 9)},

		{"structured replies with data", script(newstyle, option(optStructuredReply, []byte{0})), "STRUCTURED_REPLY: invalid (option carries data)\n"},
		{"structured replies twice", script(newstyle, structured, structured), "STRUCTURED_REPLY: ack\nSTRUCTURED_REPLY: ack\n"},

		{"meta contexts without structured replies", script(newstyle,
			option(optListMetaContext, metaOption("vg/root")), option(optSetMetaContext, metaOption("vg/root", contextAllocation))),
			"LIST_META: invalid (structured replies were not negotiated)\nSET_META: invalid (structured replies were not negotiated)\n"},
		{"list meta contexts", script(newstyle, structured,
			option(optListMetaContext, metaOption("vg/root")),
			option(optListMetaContext, metaOption("vg/root", "base:")),
			option(optListMetaContext, metaOption("vg/root", "x:y", contextAllocation, contextAllocation)),
			option(optListMetaContext, metaOption("vg/root", "base:other", "qemu:dirty-bitmap:b", ""))),
			"STRUCTURED_REPLY: ack\n" + strings.Repeat("LIST_META: context 0 base:allocation\nLIST_META: ack\n", 3) + "LIST_META: ack\n"},
		{"set meta contexts", script(newstyle, structured,
			option(optSetMetaContext, metaOption("vg/root")),
			option(optSetMetaContext, metaOption("vg/root", "base:")),
			option(optSetMetaContext, metaOption("vg/root", "base:allocation", "base:allocation"))),
			"STRUCTURED_REPLY: ack\nSET_META: ack\nSET_META: ack\nSET_META: context 1 base:allocation\nSET_META: ack\n"},
		{"meta contexts malformed", script(newstyle, structured,
			option(optSetMetaContext, nil),
			option(optSetMetaContext, lengthAndString(nil, "vg/root")),
			option(optSetMetaContext, append(lengthAndString(nil, "vg/root"), 0xff, 0xff, 0xff, 0xff)), // that many queries
			option(optSetMetaContext, append(lengthAndString(nil, "vg/root"), 0, 0, 0, 1, 0, 0, 0, 9, 'b')),
			option(optSetMetaContext, append(metaOption("vg/root", "base:"), 0)),
			option(optSetMetaContext, metaOption("vg/root", long))),
			"STRUCTURED_REPLY: ack\n" + strings.Repeat("SET_META: invalid (malformed option)\n", 6)},
		{"too many options", script(newstyle, bytes.Repeat(option(99, nil), maxOptions+1)), strings.Repeat("99: unsup\n", maxOptions) + "hangs up\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, swap := newDevice(65536), newDevice(8192+512)
			opened := counter{exports: exports{
				"vg/root": {dev: root, Export: Export{Description: "the root"}},
				"vg/swap": {dev: swap, Export: Export{ReadOnly: true, MinBlock: 4096, PreferredBlock: 8192}},
				"broken":  {},
			}}
			out, hungUp := converse(t, &Server{Exports: &opened}, tt.in)
			if diff := cmp.Diff(tt.want, transcript(out, hungUp)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if closed := int(root.closed.Load() + swap.closed.Load()); closed != opened.n {
				t.Errorf("%d devices were opened, %d closed", opened.n, closed)
			}
		})
	}
}

// counter counts the devices that are opened.
type counter struct {
	exports
	n int
}

func (c *counter) Open(ctx context.Context, name string, readOnly bool) (blockdev.Device, Export, error) {
	dev, e, err := c.exports.Open(ctx, name, readOnly)
	if err == nil {
		c.n++
	}
	return dev, e, err
}

// Whether BLOCK_STATUS may be used is decided by the last SET_META_CONTEXT.
func TestMetaContextBelongsToExport(t *testing.T) {
	set := func(name string, queries ...string) []byte {
		return option(optSetMetaContext, metaOption(name, queries...))
	}
	for _, tt := range []struct {
		name    string
		options [][]byte
		want    bool
	}{
		{"selected", [][]byte{set("a", contextAllocation)}, true},
		{"for another export", [][]byte{set("b", contextAllocation)}, false},
		{"taken back", [][]byte{set("a", contextAllocation), set("a")}, false},
		{"lost by a failure", [][]byte{set("a", contextAllocation), option(optSetMetaContext, nil)}, false},
		{"selected again", [][]byte{set("b", contextAllocation), set("a", "x:y", contextAllocation)}, true},
		{"listed only", [][]byte{option(optListMetaContext, metaOption("a", contextAllocation))}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &negotiator{srv: &Server{Exports: exports{"a": {dev: newDevice(512)}, "b": {dev: newDevice(512)}}}, ctx: t.Context(), out: io.Discard}
			n.in = newInput(bytes.NewReader(script(0, append(append([][]byte{option(optStructuredReply, nil)}, tt.options...), option(optGo, infoOption("a")))...)))
			x, err := n.negotiate()
			if err != nil {
				t.Fatal(err)
			}
			if x.meta != tt.want || !x.structured {
				t.Errorf("structured %v, meta context %v, want %v", x.structured, x.meta, tt.want)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want uint32
	}{
		{fs.ErrNotExist, repErrUnknown},
		{fmt.Errorf("x: %w", fs.ErrPermission), repErrPolicy},
		{context.Canceled, repErrShutdown},
		{io.ErrUnexpectedEOF, repErrUnknown},
	} {
		if got := refusal(tt.err); got != tt.want {
			t.Errorf("%v: %#x, want %#x", tt.err, got, tt.want)
		}
	}
}
