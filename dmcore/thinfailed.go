package dmcore

// FailedThin is the table of a thin device whose pool has failed: it tells neither
// its pool nor its device id (drivers/md/dm-thin.c, thin_status). On is what the
// kernel says that it stands on, its pool and perhaps an external origin, in any order.
// [ParseTarget] never gives one.
type FailedThin struct{ On [2]Dev }

// Type is the kernel's name for it.
func (FailedThin) Type() string { return thinType }

// Params is what the table says.
func (FailedThin) Params() string { return ThinFail.String() }

// Devs lists the devices it stands on.
func (t FailedThin) Devs() []Dev {
	var devs []Dev
	for _, d := range t.On {
		if d != "" {
			devs = append(devs, d)
		}
	}
	return devs
}

func (t FailedThin) withDevs(f func(Dev) (Dev, error)) (Target, error) {
	for i, d := range t.On {
		if d == "" {
			continue
		}
		to, err := f(d)
		if err != nil {
			return nil, err
		}
		t.On[i] = to
	}
	return t, nil
}
