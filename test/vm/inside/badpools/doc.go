// Package badpools holds what cowhand says and refuses of thin pools with which
// something is wrong, and that it then changes nothing.
package badpools
