package main

import (
	"fmt"
	"io"
	"os"
)

// page is what the audience reads.
type page struct {
	out    io.Writer
	color  bool
	acts   int
	claims int
}

func newPage(out *os.File) page {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return page{out: out, color: terminal && os.Getenv("NO_COLOR") == ""}
}

// act begins a part of the show.
func (p *page) act(title, about string) {
	p.acts++
	p.say("\n%s\n   %s", p.bold(fmt.Sprintf("%d. %s", p.acts, title)), about)
}

// claim prints a fact that was just checked, and by whom.
func (p *page) claim(fact, by string) {
	p.claims++
	p.say("   %s %s  %s", p.green("ok"), fact, p.dim("("+by+")"))
}

func (p *page) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

func (p *page) bold(text string) string  { return p.paint("1", text) }
func (p *page) dim(text string) string   { return p.paint("2", text) }
func (p *page) red(text string) string   { return p.paint("1;31", text) }
func (p *page) green(text string) string { return p.paint("32", text) }

func (p *page) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
