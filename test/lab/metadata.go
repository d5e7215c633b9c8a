package lab

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Merging tells whether the metadata, as lvm2's pvck reads it, holds a snapshot on its way into its
// origin.
func Merging(ctx context.Context, pv string) (bool, error) {
	text, err := pvck(ctx, "metadata", pv)
	return strings.Contains(text, "merging_store = "), err
}

// Audit has lvm2's pvck check label, headers and metadata area of a physical volume, and returns the
// number of the metadata's generation.
func Audit(ctx context.Context, pv string) (seqno int, err error) {
	headers, err := pvck(ctx, "headers", pv)
	if err != nil {
		return 0, err
	}
	if complaints := regexp.MustCompile(`(?m)^\s*CHECK: .*`).FindAllString(headers, -1); len(complaints) > 0 { // and yet it exits with 0
		return 0, fmt.Errorf("lab: %s: pvck: %s", pv, strings.Join(complaints, "\n"))
	}
	text, err := pvck(ctx, "metadata", pv)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`\nseqno = (\d+)\n`).FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("lab: %s: pvck finds no metadata: %s", pv, strings.TrimSpace(text))
	}
	return strconv.Atoi(found[1])
}

// pvck dumps a part of a physical volume. It takes no lock: lvm2's would lie in /run/lock, which only
// root may write, and protect from nobody here.
func pvck(ctx context.Context, part, pv string) (string, error) {
	return run(ctx, "lvm", "pvck", "--driverloaded", "n", "--nolocking", "--dump", part, pv)
}

// Where asks lvm2's own pvck where in the physical volume's file or device a linear logical volume
// of one segment lies, so that its contents can be read past whatever else serves them.
func Where(ctx context.Context, pv, lv string) (Extent, error) {
	text, err := pvck(ctx, "metadata", pv)
	if err != nil {
		return Extent{}, err
	}
	section := regexp.MustCompile(`(?s)\n` + regexp.QuoteMeta(lv) + ` \{.*?segment_count = 1\n\nsegment1 \{(.*?)\n\}`).FindStringSubmatch(text)
	if section == nil {
		return Extent{}, fmt.Errorf("lab: %s: pvck knows no logical volume %s of one segment", pv, lv)
	}
	number := func(in, pattern string) int64 {
		m := regexp.MustCompile(pattern).FindStringSubmatch(in)
		if m == nil {
			err = fmt.Errorf("lab: %s: pvck: no %s for %s", pv, pattern, lv)
			return 0
		}
		n, _ := strconv.ParseInt(m[1], 10, 64)
		return n
	}
	const sector = 512
	extent := number(text, `extent_size = (\d+)`) * sector
	at := Extent{
		Offset: number(text, `pe_start = (\d+)`)*sector + number(section[1], `stripes = \[\s*"pv0", (\d+)`)*extent,
		Length: number(section[1], `extent_count = (\d+)`) * extent,
	}
	return at, err
}
