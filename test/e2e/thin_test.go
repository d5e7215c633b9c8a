package e2e

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cowhand/test/lab"
)

// A guest on a volume of a thin pool is patched, put back, tried and kept, all on thin snapshots, and
// the engine is killed while it writes. Past cowhand, thin_check and thin_dump read what is in the pool.
func TestGuestInAThinPool(t *testing.T) {
	lab.Need(t, "thin_check")
	b := newBenchOn(t, []string{"lvcreate", "-T", "-L", "128M", "herd/pool"}, []string{"lvcreate", "-V", "32M", "-T", "herd/pool", "-n", "web"})
	b.virsh("start", "web")
	c := b.console("web")
	b.cowhand("snapshot", "web", "--set", "before", "--thin")
	b.ask(c, "write v2", "v2")
	acked := b.killEngineUnder(c, "web")
	if err := lab.CheckFill(b.onThin("web", "fill"), acked); err != nil {
		t.Error(err)
	}
	b.virsh("start", "web")
	b.ask(b.console("web"), "version", "v2")

	b.cowhand("rollback", "web", "before", "-y")
	b.ask(b.console("web"), "version", firstVersion)
	b.cowhand("try", "web", "--set", "try")
	b.ask(b.console("web-try"), "write v3", "v3")
	b.cowhand("keep", "web", "-y")
	b.ask(b.console("web"), "version", "v3")
	b.virsh("destroy", "web")
	if got := b.onThin("web", "version"); got != "v3\n" {
		t.Errorf("the volume says %q, want v3", got)
	}
	if left := strings.Fields(b.cowhand("lvm", "lvs", "--noheadings", "-o", "lv_name", "herd")); fmt.Sprint(left) != "[pool web]" {
		t.Errorf("volumes left: %v", left)
	}
	b.generation()
}

// onThin reads a file on a thin volume past cowhand: what thin_dump says is where is put together
// from the pool's data. The volume is inactive meanwhile.
func (b *bench) onThin(lv, file string) string {
	b.Helper()
	b.cowhand("lvm", "lvchange", "-an", "herd")
	defer b.cowhand("lvm", "lvchange", "-ay", "herd")
	metadata := filepath.Join(b.Dir, "tmeta.img")
	b.extract("pool_tmeta", metadata)
	b.output("thin_check", metadata)
	id := regexp.MustCompile(`(?s)\n` + lv + ` \{.*?device_id = (\d+)`).FindStringSubmatch(b.output("lvm", "pvck", "--driverloaded", "n", "--nolocking", "--dump", "metadata", b.PV))
	if id == nil {
		b.Fatalf("pvck knows no thin volume %s", lv)
	}
	var dump struct {
		Block  int64 `xml:"data_block_size,attr"` // sectors
		Device []struct {
			Single []struct {
				Origin int64 `xml:"origin_block,attr"`
				Data   int64 `xml:"data_block,attr"`
			} `xml:"single_mapping"`
			Range []struct {
				Origin int64 `xml:"origin_begin,attr"`
				Data   int64 `xml:"data_begin,attr"`
				Length int64 `xml:"length,attr"`
			} `xml:"range_mapping"`
		} `xml:"device"`
	}
	if err := xml.Unmarshal([]byte(b.output("thin_dump", "--dev-id", id[1], metadata)), &dump); err != nil || len(dump.Device) != 1 {
		b.Fatalf("thin_dump of device %s: %d devices, %v", id[1], len(dump.Device), err)
	}
	at, err := lab.Where(b.ctx, b.PV, "pool_tdata")
	if err != nil {
		b.Fatal(err)
	}
	pv, err := os.Open(b.PV)
	if err != nil {
		b.Fatal(err)
	}
	defer pv.Close()
	image := filepath.Join(b.Dir, lv+".img")
	out, err := os.Create(image)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	const length = 32 << 20
	if err := out.Truncate(length); err != nil {
		b.Fatal(err)
	}
	block := make([]byte, dump.Block*512)
	put := func(origin, data int64) {
		if _, err := pv.ReadAt(block, at.Offset+data*int64(len(block))); err != nil {
			b.Fatal(err)
		}
		if _, err := out.WriteAt(block, origin*int64(len(block))); err != nil {
			b.Fatal(err)
		}
	}
	for _, m := range dump.Device[0].Single {
		put(m.Origin, m.Data)
	}
	for _, m := range dump.Device[0].Range {
		for i := range m.Length {
			put(m.Origin+i, m.Data+i)
		}
	}
	content, err := lab.ReadFile(b.ctx, image, lab.Extent{Length: length}, file)
	if err != nil {
		b.Fatal(err)
	}
	return content
}

// extract copies a linear volume out of the physical volume.
func (b *bench) extract(lv, to string) {
	b.Helper()
	at, err := lab.Where(b.ctx, b.PV, lv)
	if err != nil {
		b.Fatal(err)
	}
	b.output("dd", "if="+b.PV, "of="+to, "bs=64K", "iflag=skip_bytes,count_bytes", fmt.Sprintf("skip=%d", at.Offset), fmt.Sprintf("count=%d", at.Length))
}
