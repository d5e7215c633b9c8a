package main

import (
	"strconv"
	"strings"

	"cowhand/dmcore"
)

// lvmUnits is how sizes are shown: in the unit of --units, or if that is h or r
// in the largest in which they are at least one; r marks what was rounded up
// by "<" (lvm2 2.03.16, libdm/libdm-string.c, dm_size_to_string). Lower-case
// units are powers of 1024, upper-case ones of 1000.
type lvmUnits struct {
	unit     byte
	noSuffix bool
	long     bool // "4.00 MiB" instead of "4.00m"
}

const lvmUnitLetters = "bkmgtpe"

// lvmParseUnits reads --units.
func lvmParseUnits(s string) (lvmUnits, error) {
	if len(s) != 1 || !strings.Contains("hHrRbBsSkKmMgGtTpPeE", s) {
		return lvmUnits{}, lvmValue("units", s)
	}
	return lvmUnits{unit: s[0]}, nil
}

func (u lvmUnits) String(bytes uint64) string {
	lower := u.unit | 0x20
	base, upper := uint64(1024), u.unit != lower
	if upper {
		base = 1000
	}
	switch lower {
	case 'b':
		return u.suffixed(strconv.FormatUint(bytes, 10), "B", " B")
	case 's':
		return u.suffixed(strconv.FormatUint(bytes/dmcore.SectorSize, 10), "S", " Se")
	}
	if bytes == 0 {
		return u.suffixed("0", " ", "   ")
	}
	at, scale := 0, uint64(1)
	human := lower == 'h' || lower == 'r'
	for at < len(lvmUnitLetters)-1 && (human && bytes/scale >= base || !human && lvmUnitLetters[at] != lower) {
		at, scale = at+1, scale*base
	}
	letter := lvmUnitLetters[at : at+1]
	longer := " " + strings.ToUpper(letter) + "iB"
	if upper {
		letter, longer = strings.ToUpper(letter), " "+strings.ToUpper(letter)+"B"
	}
	if at == 0 {
		return u.suffixed(strconv.FormatUint(bytes, 10), letter, " B")
	}
	exact := float64(bytes) / float64(scale)
	text := strconv.FormatFloat(exact, 'f', 2, 64)
	if shown, err := strconv.ParseFloat(text, 64); err == nil && lower == 'r' && shown > exact {
		text = "<" + text
	}
	return u.suffixed(text, letter, longer)
}

func (u lvmUnits) suffixed(number, short, long string) string {
	switch {
	case u.noSuffix:
		return number
	case u.long:
		return number + long
	}
	return number + short
}

// lvmHuman is a size in a sentence.
func lvmHuman(n dmcore.Sectors) string {
	return lvmUnits{unit: 'r', long: true}.String(uint64(n.Bytes()))
}

// lvmPercent shows a percentage; one that is not quite 0 or 100 is not shown
// as that (lvm2 2.03.16, libdm/libdm-string.c, dm_percent_to_round_float).
func lvmPercent(p float64) string {
	text := strconv.FormatFloat(p, 'f', 2, 64)
	switch {
	case text == "100.00" && p < 100:
		return "99.99"
	case text == "0.00" && p > 0:
		return "0.01"
	}
	return text
}
