// Package together has lvm2 and cowhand change one group at the same time.
package together
