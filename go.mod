module cowhand

go 1.26
