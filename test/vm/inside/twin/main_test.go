package twin

import (
	"testing"

	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }
