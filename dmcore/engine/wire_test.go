package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
)

func TestDecodeRequest(t *testing.T) {
	good := []struct {
		line string
		want request
	}{
		{`{"id":1,"cmd":"version"}`, request{ID: 1, Cmd: "version", Req: &dmcore.Request{}}},
		{`{"id":2,"cmd":"info","req":{"name":"a"}}`, request{ID: 2, Cmd: "info", Req: &dmcore.Request{Name: "a"}}},
		{`{"id":3,"cmd":"load","req":{"uuid":"u","table":"0 8 zero"}}`, request{ID: 3, Cmd: "load",
			Req: &dmcore.Request{UUID: "u", Table: dmcore.Table{{Length: 8, Target: dmcore.Zero{}}}}}},
		{`{"id":18446744073709551615,"cmd":"cancel"}`, request{ID: 1<<64 - 1, Cmd: "cancel"}},
		{` {"id":4,"cmd":"stop","force":true} `, request{ID: 4, Cmd: "stop", Force: true}},
	}
	for _, c := range good {
		got, _, err := decodeRequest([]byte(c.line))
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
		} else if d := cmp.Diff(&c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.line, d)
		}
	}
	bad := []struct {
		line string
		id   uint64
		want error
	}{
		{``, 0, dmcore.ErrInvalid},
		{`null`, 0, dmcore.ErrInvalid},
		{`[]`, 0, dmcore.ErrInvalid},
		{`{"id":1,"cmd":"version"`, 0, dmcore.ErrInvalid},
		{`{"id":1,"cmd":"version"} {}`, 0, dmcore.ErrInvalid},
		{`{"cmd":"version"}`, 0, dmcore.ErrInvalid},
		{`{"id":0,"cmd":"version"}`, 0, dmcore.ErrInvalid},
		{`{"id":-1,"cmd":"version"}`, 0, dmcore.ErrInvalid},
		{`{"id":1,"cmd":"explode"}`, 1, dmcore.ErrNotSupported},
		{`{"id":1}`, 1, dmcore.ErrNotSupported},
		{`{"id":1,"cmd":"info","req":{"nmae":"a"}}`, 1, dmcore.ErrInvalid},
		{`{"id":1,"cmd":"info","extra":1}`, 0, dmcore.ErrInvalid},
		{`{"id":1,"cmd":"load","req":{"table":"0 8 zero\n9 1 zero"}}`, 1, dmcore.ErrInvalid},
		{`{"id":1,"cmd":"load","req":{"table":"0 8 mystery"}}`, 1, dmcore.ErrNotSupported},
		{`{"id":1,"cmd":"cancel","req":{}}`, 1, dmcore.ErrInvalid},
		{"{\"id\":1,\"cmd\":\"info\",\"req\":{\"name\":\"\xff\"}}", 0, dmcore.ErrInvalid},
	}
	for _, c := range bad {
		if got, _, err := decodeRequest([]byte(c.line)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.line, got, err, c.want)
		}
	}
}

// What is decoded and encoded again means the same.
func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(`{"id":1,"cmd":"load","req":{"uuid":"LVM-a","table":"0 8 linear /dev/a\\ b 0\n8 8 zero","readOnly":true}}`))
	f.Add([]byte(`{"id":2,"cmd":"wait","req":{"name":"a","eventNr":3}}`))
	f.Add([]byte(`{"id":3,"cmd":"stop","force":true}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, _, err := decodeRequest(line)
		if err != nil {
			return
		}
		if r.Req != nil {
			if err := checkText(r.Req); err != nil {
				t.Fatalf("%q: let in: %v", line, err)
			}
		}
		again, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		r2, _, err := decodeRequest(bytes.TrimSuffix(again, []byte("\n")))
		if err != nil {
			t.Fatalf("%q: encoded as %q: %v", line, again, err)
		}
		if d := cmp.Diff(r, r2); d != "" {
			t.Fatalf("%q: (-once +twice)\n%s", line, d)
		}
	})
}

func TestReadLine(t *testing.T) {
	in := "one\n\n" + strings.Repeat("x", 30) + "\n" + "rest"
	r := bufio.NewReaderSize(strings.NewReader(in), 16)
	for _, want := range []string{"one", "", strings.Repeat("x", 30)} {
		if got, err := readLine(r, 31); err != nil || string(got) != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	if got, err := readLine(r, 31); err != io.ErrUnexpectedEOF {
		t.Fatalf("%q, %v; want an unexpected end", got, err)
	}
	if got, err := readLine(r, 31); err != io.EOF {
		t.Fatalf("%q, %v; want the end", got, err)
	}
	r = bufio.NewReaderSize(strings.NewReader(strings.Repeat("x", 32)+"\n"), 16)
	if got, err := readLine(r, 31); !errors.Is(err, errLineTooLong) {
		t.Fatalf("%q, %v; want too long", got, err)
	}
}

// Errors match on the other side what they match on this one, and read alike.
func TestErrorsOverTheWire(t *testing.T) {
	var all []error
	for _, c := range codes {
		all = append(all, c.err)
	}
	for _, err := range append(all,
		fmt.Errorf("export: %w: %w", fs.ErrNotExist, dmcore.ErrNotFound),
		&dmcore.Error{Cmd: dmcore.Remove, Name: "vg-lv", Err: fmt.Errorf("open count is 2: %w", dmcore.ErrBusy)},
		&dmcore.Error{Cmd: dmcore.Remove, Name: "", Err: context.Canceled},
		errors.New("something else"),
	) {
		line, e := encode(&response{ID: 1, Error: toWire(err)})
		if e != nil {
			t.Fatal(e)
		}
		r := decodeResponse(t, line)
		got := r.Error.err("remove")
		if got.Error() != err.Error() {
			t.Errorf("reads %q, was %q", got, err)
		}
		for _, c := range codes {
			if errors.Is(got, c.err) != errors.Is(err, c.err) {
				t.Errorf("%v: matches %v: %v, was %v", err, c.err, errors.Is(got, c.err), errors.Is(err, c.err))
			}
		}
		var was, is *dmcore.Error
		if errors.As(err, &was) != errors.As(got, &is) || was != nil && (was.Cmd != is.Cmd || was.Name != is.Name) {
			t.Errorf("%v: came as %#v", err, is)
		}
	}
}
