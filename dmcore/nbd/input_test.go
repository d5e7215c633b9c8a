package nbd

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// dribble gives what it has in pieces of random length.
type dribble struct {
	rng *rand.Rand
	b   []byte
}

func (d *dribble) Read(p []byte) (int, error) {
	if len(d.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, d.b[:min(len(d.b), 1+d.rng.IntN(100<<10))])
	d.b = d.b[n:]
	return n, nil
}

// However the bytes come and are taken, they stay in order and none is lost.
func TestInput(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	want := make([]byte, 8<<20)
	for i := range want {
		want[i] = byte(i ^ i>>8 ^ i>>16)
	}
	in := newInput(&dribble{rng, want})
	check := func(got []byte) {
		if !bytes.Equal(got, want[:len(got)]) {
			t.Fatalf("%d bytes before the end, %d bytes differ", len(want), len(got))
		}
		want = want[len(got):]
	}
	for len(want) > inputSize {
		in.narrow = rng.IntN(4) == 0
		n := 1 + rng.IntN(inputSize)
		if rng.IntN(2) == 0 {
			n = requestSize
		}
		switch rng.IntN(5) {
		case 0:
			p := make([]byte, n)
			if err := in.readFull(p); err != nil {
				t.Fatal(err)
			}
			check(p)
		case 1:
			if err := in.discard(n); err != nil {
				t.Fatal(err)
			}
			want = want[n:]
		case 2:
			in = in.split()
		default:
			if err := in.fill(n); err != nil {
				t.Fatal(err)
			}
			if p := in.peek(n); &p[0] != &in.take(n)[0] {
				t.Fatal("peek shows something else than take")
			} else {
				check(p)
			}
		}
	}
}

func TestInputEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		have int
		do   func(*input) error
		want error
	}{
		{"between requests", 0, func(in *input) error { return in.fill(28) }, io.EOF},
		{"in a header", 27, func(in *input) error { return in.fill(28) }, io.ErrUnexpectedEOF},
		{"before a payload", 0, func(in *input) error { return in.readFull(make([]byte, 9)) }, io.ErrUnexpectedEOF},
		{"in a payload", 8, func(in *input) error { return in.readFull(make([]byte, 9)) }, io.ErrUnexpectedEOF},
		{"in what is discarded", 8, func(in *input) error { return in.discard(9) }, io.ErrUnexpectedEOF},
	} {
		if err := tt.do(newInput(bytes.NewReader(make([]byte, tt.have)))); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
