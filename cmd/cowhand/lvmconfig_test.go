package main

import (
	"errors"
	"io"
	"os"
	"testing"
)

func TestLVMConfig(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("others than root share nothing with lvm2")
	}
	lvm2Dir(t, `activation { snapshot_autoextend_threshold = 70 snapshot_autoextend_percent = 10 }`)
	configured := func(words ...string) (*lvmRun, error) {
		h := &host{stdout: io.Discard, stderr: io.Discard}
		h.defaults()
		args, err := parseLVM(lvmOptions(lvmCommon), words)
		if err != nil {
			t.Fatal(err)
		}
		r := &lvmRun{host: h, args: args}
		return r, r.configure()
	}
	r, err := configured("--config", "activation { snapshot_autoextend_threshold = 50 }", "--config", `activation/volume_list=["@x"] log{prefix=""}`)
	if err != nil {
		t.Fatal(err)
	}
	a := r.lvm2.Activation
	if a.SnapshotAutoextendThreshold != 50 || a.SnapshotAutoextendPercent != 10 || len(a.VolumeList) != 1 {
		t.Errorf("%+v", a)
	}
	if r, err = configured(); err != nil || r.lvm2.Activation.SnapshotAutoextendThreshold != 70 {
		t.Errorf("without --config: %v", err)
	}
	var usage *usageError
	if _, err = configured("--config", "activation {"); !errors.As(err, &usage) {
		t.Errorf("no settings: %v", err)
	}
}
