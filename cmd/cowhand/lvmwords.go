package main

import (
	"fmt"
	"regexp"
	"strings"

	"cowhand/dmcore"
)

// What LVM2 says about command lines, in its words: scripts look for them.

// saying is words of LVM2's, and the error behind them, if there is one.
type saying struct {
	text string
	err  error
}

func (s *saying) Error() string {
	if s.err == nil {
		return s.text
	}
	return s.text + ": " + s.err.Error()
}
func (s *saying) Unwrap() error { return s.err }

func lvmSays(err error, format string, args ...any) error {
	return &saying{fmt.Sprintf(format, args...), err}
}

// lvmTypes are LVM2's segment types that --type may ask for.
var lvmTypes = strings.Fields(`linear striped snapshot mirror raid0 raid0_meta raid1 raid4 raid5 raid5_la raid5_ls raid5_n raid5_ra
	raid5_rs raid6 raid6_la_6 raid6_ls_6 raid6_n_6 raid6_nc raid6_nr raid6_ra_6 raid6_rs_6 raid6_zr raid10 raid10_near thin thin-pool
	cache cache-pool vdo vdo-pool writecache error zero`)

// lvmSign refuses what is no size because of its sign.
func lvmSign(text string, plus bool) error {
	switch {
	case plus && strings.HasPrefix(text, "-"), strings.HasPrefix(text, "+"):
		return usagef("Multiple sign in size: %s", text)
	case strings.HasPrefix(text, "-"):
		return usagef("Size may not be negative: %s", text)
	}
	return nil
}

var lvmNumber = regexp.MustCompile(`^([0-9]+(\.[0-9]*)?|\.[0-9]+)([a-zA-Z]*|%.*)$`)

// badSize says why a text is no size. That a percentage cannot be of what it is
// of, LVM2 finds out late.
func (r *lvmRun) badSize(text string, err error) error {
	_, of, percent := strings.Cut(text, "%")
	switch {
	case percent && strings.EqualFold(of, "LV") && r.args.has("snapshot"):
		return lvmSays(nil, "Please express size as %%FREE, %%ORIGIN, %%PVS or %%VG.")
	case percent && strings.EqualFold(of, "LV") && r.verb.name == "lvcreate":
		return lvmSays(nil, "Please express size as %%FREE, %%PVS or %%VG.")
	case !lvmNumber.MatchString(text):
		return usagef("Can't parse size: %s", err)
	case strings.Contains(err.Error(), "too large"):
		return usagef("Size is too big: %s", err)
	}
	return usagef("%s", err)
}

// striping reads -i and -I.
func (r *lvmRun) striping() (stripes int, size dmcore.Sectors, err error) {
	const most = 128
	if stripes, err = r.args.number("stripes", 1, 0, 1<<31-1); err != nil {
		return 0, 0, err
	}
	if stripes < 1 || stripes > most {
		return 0, 0, usagef("Number of stripes (%d) must be between 1 and %d.", stripes, most)
	}
	if strings.HasPrefix(r.args.get("stripesize"), "-") {
		return 0, 0, usagef("Stripe size may not be negative.")
	}
	if size, err = r.sectors("stripesize"); err != nil {
		return 0, 0, err
	}
	const largest dmcore.Sectors = 1 << 30 // lib/metadata/metadata-exported.h, STRIPE_SIZE_LIMIT
	switch {
	case stripes == 1 && size != 0:
		r.say("Ignoring stripesize argument with single stripe.")
		return stripes, 0, nil
	case size > largest:
		return 0, 0, usagef("Stripe size cannot be larger than %s.", lvmHuman(largest))
	case size != 0 && (size < 8 || size&(size-1) != 0):
		return 0, 0, usagef("Invalid stripe size %s.", lvmHuman(size))
	}
	return stripes, size, nil
}
