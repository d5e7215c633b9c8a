package lvm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"

	"github.com/google/go-cmp/cmp"
)

func TestPendingThin(t *testing.T) {
	ok := func(id uint64) dmcore.ThinPoolStatus {
		return dmcore.ThinPoolStatus{TransactionID: id, Mode: dmcore.ThinPoolWritable}
	}
	all := []ThinMessage{{Create: "t1"}, {Create: "ts1"}, {Delete: 9}}
	for _, tt := range []struct {
		name     string
		st       dmcore.ThinPoolStatus
		messages []ThinMessage
		want     []dmcore.ThinMessage
		err      error
		says     string
	}{
		{"both at the same, nothing to tell", ok(6), nil, nil, nil, ""},
		{"the kernel got them", ok(6), all, nil, nil, ""},
		{"the kernel did not get them", ok(5), all, []dmcore.ThinMessage{"create_thin 1", "create_snap 2 1", "delete 9", "set_transaction_id 5 6"}, nil, ""},
		{"one behind with nothing to tell is as lvm2 takes it", ok(5), nil, nil, nil, ""},
		{"the kernel is ahead", ok(7), all, nil, ErrTransaction, "transaction id is 7 in the kernel, 5 was expected"},
		{"the kernel is ahead, nothing to tell", ok(7), nil, nil, ErrTransaction, "transaction id is 7 in the kernel, 6 was expected"},
		{"the kernel is far behind", ok(3), all, nil, ErrTransaction, "transaction id is 3"},
		{"failed", dmcore.ThinPoolStatus{State: dmcore.ThinFail}, nil, nil, ErrInUse, `nothing but "Fail"`},
		{"read-only, with messages", dmcore.ThinPoolStatus{TransactionID: 5, Mode: dmcore.ThinPoolReadOnly}, all, nil, ErrInUse, "read-only"},
		{"read-only, without", dmcore.ThinPoolStatus{TransactionID: 6, Mode: dmcore.ThinPoolReadOnly}, nil, nil, nil, ""},
		{"to be checked, with messages", dmcore.ThinPoolStatus{TransactionID: 5, NeedsCheck: true}, all, nil, ErrInUse, "needs a check"},
		{"full of data", dmcore.ThinPoolStatus{TransactionID: 5, Mode: dmcore.ThinPoolOutOfDataSpace}, []ThinMessage{{Delete: 9}},
			[]dmcore.ThinMessage{"delete 9", "set_transaction_id 5 6"}, nil, ""},
		{"what is no thin volume", ok(5), []ThinMessage{{Create: "root"}}, nil, ErrInvalid, "root"},
	} {
		vg := thinVG(t)
		vg.LV("pool").ThinPool().Messages = tt.messages
		got, err := vg.PendingThin("pool", tt.st)
		if !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want %v, %q", tt.name, err, tt.err, tt.says)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	vg := thinVG(t)
	if got, err := vg.PendingThin("new", ok(77)); got != nil || err != nil {
		t.Errorf("a pool in which nothing was made: %v, %v", got, err)
	}
	if _, err := vg.PendingThin("root", ok(6)); !errors.Is(err, ErrInvalid) {
		t.Errorf("what is no pool: %v", err)
	}
	if _, err := vg.PendingThin("gone", ok(6)); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
}

// The golden texts, as an activation after a crash finds them.
func TestPendingThinGolden(t *testing.T) {
	for file, want := range map[string][]dmcore.ThinMessage{
		"thin-create.bin":   {"create_thin 1", "set_transaction_id 0 1"},
		"thin-snapshot.bin": {"create_snap 2 1", "set_transaction_id 1 2"},
	} {
		vg := mustParse(t, thinGolden(t, file))
		id := vg.LV("pool").ThinPool().TransactionID
		got, err := vg.PendingThin("pool", dmcore.ThinPoolStatus{TransactionID: id - 1})
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

// thinDM is a device mapper with devices of thinVG, as after activating units.
type thinDM struct {
	*fakeDM
	t  testing.TB
	vg *VG
}

func newThinDM(t testing.TB) *thinDM { return &thinDM{newFakeDM(), t, thinVG(t)} }

// unit is the devices of a unit, as devices.plan has them.
func (m *thinDM) unit(lv string) (have []Device) {
	m.t.Helper()
	unit, err := m.vg.Unit(lv)
	must(m.t, err)
	own, shared := m.vg.UnitDevices(unit)
	have = m.have(append(own, shared...)...)
	for i := range have {
		u := have[i].Info.UUID
		have[i].Shared = slices.Contains(shared, u)
		have[i].Info.OpenCount += len(m.users(u))
	}
	return have
}

func (m *thinDM) carry(have []Device, want []Activation) Plan {
	m.t.Helper()
	plan, err := PlanDevices(have, want)
	must(m.t, err)
	for _, s := range slices.Concat(plan.Prepare, plan.Suspend, plan.Resume, plan.Cleanup) {
		must(m.t, m.do(s))
	}
	return plan
}

func (m *thinDM) up(lv string) Plan {
	m.t.Helper()
	list, err := m.vg.Activations(lv, pvDevice(m.vg))
	must(m.t, err)
	return m.carry(m.unit(lv), list)
}

func (m *thinDM) down(lv string) Plan { m.t.Helper(); return m.carry(m.unit(lv), nil) }

func (m *thinDM) names() string {
	var names []string
	for _, d := range m.devs {
		names = append(names, strings.TrimPrefix(string(d.info.Name), "vg-"))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// A pool is made before the first volume in it, used by others, and goes with the
// last.
func TestPlanThinPoolStaysWhileUsed(t *testing.T) {
	m := newThinDM(t)
	plan := m.up("t1")
	want := `prepare
	create vg-pool_tmeta
	load vg-pool_tmeta: 0 8192 linear /dev/vdb 51200
	resume vg-pool_tmeta
	create vg-pool_tdata
	load vg-pool_tdata: 0 65536 linear /dev/vdb 59392
	resume vg-pool_tdata
	create vg-pool-tpool
	load vg-pool-tpool: 0 65536 thin-pool vg-pool_tmeta vg-pool_tdata 128 0 0
	resume vg-pool-tpool
	create vg-t1
	load vg-t1: 0 40960 thin vg-pool-tpool 1
resume
	resume vg-t1
`
	if diff := cmp.Diff(want, plan.String()); diff != "" {
		t.Error(diff)
	}
	const below = "pool-tpool pool_tdata pool_tmeta"
	for _, step := range []struct {
		do   func(string) Plan
		lv   string
		want string
	}{
		{m.up, "ts1", below + " t1 ts1"},
		{m.up, "text", "base-real " + below + " t1 text ts1"},
		{m.up, "base", "base base-real " + below + " t1 text ts1"},
		{m.up, "pool", "base base-real pool " + below + " t1 text ts1"},
		{m.up, "cow", "base base-real cow cow-cow pool " + below + " t1 text thick thick-real ts1"},
		{m.down, "t1", "base base-real cow cow-cow pool " + below + " text thick thick-real ts1"},
		{m.down, "base", "base-real cow cow-cow pool " + below + " text thick thick-real ts1"},
		{m.down, "thick", "base-real pool " + below + " text ts1"},
		{m.down, "pool", "base-real " + below + " text ts1"},
		{m.down, "text", below + " ts1"},
		{m.down, "pool", below + " ts1"},
		{m.down, "ts1", ""},
		{m.up, "new", "new new_tdata new_tmeta"},
		{m.down, "new", ""},
		{m.up, "pool", "pool " + below},
		{m.down, "t1", "pool " + below}, // is not active
		{m.down, "pool", ""},
	} {
		step.do(step.lv)
		if got := m.names(); got != step.want {
			t.Fatalf("after %s: %s\nwant %s", step.lv, got, step.want)
		}
		if strings.Contains(" "+step.want+" ", " "+step.lv+" ") {
			if p := m.up(step.lv); !p.Empty() {
				t.Errorf("%s once more: %s", step.lv, p)
			}
		}
	}
}

// A pool that has failed goes with the last as well, although the tables of what is in
// it do not tell so.
func TestPlanThinFailed(t *testing.T) {
	m := newThinDM(t)
	m.up("t1")
	m.up("ts1")
	for _, lv := range []string{"t1", "ts1"} {
		d := m.devs[m.vg.uuid(m.vg.LV(lv), "")]
		d.live[0].Target = dmcore.FailedThin{On: [2]dmcore.Dev{d.live[0].Target.(dmcore.Thin).Pool}}
	}
	m.down("t1")
	if got, want := m.names(), "pool-tpool pool_tdata pool_tmeta ts1"; got != want {
		t.Errorf("after t1: %s, want %s", got, want)
	}
	m.down("ts1")
	if got := m.names(); got != "" {
		t.Errorf("after ts1: %s", got)
	}
}

// What stands for its volume is not taken from who has it open.
func TestPlanThinOpen(t *testing.T) {
	for _, lv := range []string{"t1", "pool", "new"} {
		m := newThinDM(t)
		m.up(lv)
		own := m.vg.DeviceUUID(m.vg.LV(lv))
		m.devs[own].info.OpenCount++
		if _, err := PlanDevices(m.unit(lv), nil); !errors.Is(err, ErrInUse) {
			t.Errorf("%s is open: %v", lv, err)
		}
	}
}

// At how many free blocks a live pool raises an event is left as it is; what it
// does with discards is not.
func TestPlanThinPoolTable(t *testing.T) {
	m := newThinDM(t)
	m.up("t1")
	tpool := m.vg.uuid(m.vg.LV("pool"), layerTPool)
	target := m.devs[tpool].live[0].Target.(dmcore.ThinPool)
	target.LowWater = 102
	m.devs[tpool].live[0].Target = target
	if p := m.up("t1"); !p.Empty() {
		t.Errorf("a low water mark: %s", p)
	}
	m.vg.LV("pool").ThinPool().Discards = DiscardsNoPassdown
	want := `prepare
	load vg-pool-tpool: 0 65536 thin-pool vg-pool_tmeta vg-pool_tdata 128 0 1 no_discard_passdown
suspend
	suspend vg-pool-tpool
resume
	resume vg-pool-tpool
`
	if diff := cmp.Diff(want, m.up("t1").String()); diff != "" {
		t.Error(diff)
	}
}

func TestPlanThinMessages(t *testing.T) {
	m := newThinDM(t)
	vg := m.vg
	vg.LV("pool").ThinPool().Messages = []ThinMessage{{Create: "ts1"}, {Delete: 9}}
	st := dmcore.ThinPoolStatus{TransactionID: 5}
	messages := "\tmessage vg-pool-tpool: create_snap 2 1\n\tmessage vg-pool-tpool: delete 9\n\tmessage vg-pool-tpool: set_transaction_id 5 6\n"
	plan, err := vg.PlanThin("pool", st, nil)
	must(t, err)
	if diff := cmp.Diff("suspend\n"+messages, plan.String()); diff != "" {
		t.Errorf("nothing is active: %s", diff)
	}
	m.up("t1")
	plan, err = vg.PlanThin("pool", st, m.unit("t1"))
	must(t, err)
	want := "suspend\n\tsuspend vg-t1 and freeze its file system\n" + messages + "resume\n\tresume vg-t1\n"
	if diff := cmp.Diff(want, plan.String()); diff != "" {
		t.Errorf("the origin is active: %s", diff)
	}
	undo := Plan{Prepare: plan.Undo()}
	if diff := cmp.Diff("prepare\n\tresume vg-t1\n", undo.String()); diff != "" {
		t.Errorf("undone: %s", diff)
	}
	// A thick origin is two devices.
	vg.LV("ts1").Thin().Origin = "thick"
	m.up("thick")
	plan, err = vg.PlanThin("pool", st, m.unit("thick"))
	must(t, err)
	messages = strings.Replace(messages, "create_snap 2 1", "create_snap 2 4", 1)
	want = "suspend\n\tsuspend vg-thick and freeze its file system\n\tsuspend vg-thick-real\n" + messages + "resume\n\tresume vg-thick-real\n\tresume vg-thick\n"
	if diff := cmp.Diff(want, plan.String()); diff != "" {
		t.Errorf("the origin is a thick one: %s", diff)
	}
	// Nothing is to be said: nothing is suspended.
	st.TransactionID = 6
	if plan, err = vg.PlanThin("pool", st, m.unit("t1")); err != nil || !plan.Empty() {
		t.Errorf("nothing to say: %v, %v", plan, err)
	}
	st.TransactionID = 9
	if _, err = vg.PlanThin("pool", st, nil); !errors.Is(err, ErrTransaction) {
		t.Errorf("pool and metadata do not match: %v", err)
	}
	vg.ForgetMessages("pool")
	if vg.LV("pool").ThinPool().Messages != nil {
		t.Error("the messages are there still")
	}
}

func TestPoolActivations(t *testing.T) {
	vg := thinVG(t)
	list, err := vg.PoolActivations("pool", pvDevice(vg))
	must(t, err)
	if diff := cmp.Diff(poolBelow, show(t, list)); diff != "" {
		t.Error(diff)
	}
	if _, err := vg.PoolActivations("root", pvDevice(vg)); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is no pool: %v", err)
	}
	for lv, want := range map[string]string{"t1": "pool", "base": "", "text": "pool", "new": "new", "cow": "pool", "root": ""} {
		unit, err := vg.Unit(lv)
		must(t, err)
		var names []string
		for _, p := range vg.Pools(unit) {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s stands on %q, want %q", lv, got, want)
		}
	}
}
