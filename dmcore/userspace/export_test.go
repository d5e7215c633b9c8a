package userspace

// SetMergeBatch makes merges of tables loaded from now on work in batches of n
// bytes.
func (m *Machine) SetMergeBatch(n int64) { m.mergeBatch = n }

// SetClosing is the first moment of Close, before any device is gone.
func (m *Machine) SetClosing() { m.closing.Store(true) }
