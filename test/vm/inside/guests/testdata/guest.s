# The whole of a guest: what its disk boots, in the disk's first sector. It obeys lines on the serial
# port as the lab's Linux guest does (test/lab/guest/init), but is there 4 s after its start where a
# Linux takes minutes: in a VM in a VM, both without KVM.
#
#   hello TOKEN     says ready, with the token (also said once after boot)
#   version         says what its disk holds
#   write TEXT      replaces that, past all caches
#   poweroff        powers off, as the ACPI power button does
#
# What the disk holds is one sector of text, once in each of the first 16 MiB, so that a snapshot has
# chunks to copy and a merge to bring back. Copies that differ are an error.

	.code16
	.set	serial, 0x3f8		# the first port's base
	.set	pm, 0x600		# the base of QEMU's (SeaBIOS's) ACPI power management
	.set	button, 0x100		# the power button's bit
	.set	line, 0x8000		# what was typed, ended by 0
	.set	text, 0x8200		# a sector
	.set	copy, 0x8400		# another
	.set	copies, 16
	.set	apart, 2048		# sectors

	.globl	_start
_start:	cld
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x7c00, %sp
	mov	%dl, drive
	mov	$serial+2, %dx		# its queue on
	mov	$1, %al
	out	%al, %dx
	mov	$pm+2, %dx		# say when the button is pressed
	mov	$button, %ax
	out	%ax, %dx
	mov	$boot, %di
	call	ready

next:	call	getline
	mov	$line, %di
	mov	(%di), %al
	cmp	$'v', %al
	je	1f
	cmp	$'w', %al
	je	2f
	cmp	$'p', %al
	je	off
	cmp	$'h', %al
	jne	next
	add	$6, %di
	call	ready
	jmp	next
1:	call	version
	jmp	next
2:	call	write
	jmp	next

# ready: says ready= and the text at %di
ready:	mov	$sayready, %si
	call	puts
	mov	%di, %si
	call	puts
	jmp	eol

# version: says what all copies hold
version:
	mov	$text, %bx
	call	first
	call	disk
	mov	$copy, %bx
	call	first
1:	call	disk
	push	%cx
	mov	$text, %si
	mov	$copy, %di
	mov	$256, %cx
	repe cmpsw
	pop	%cx
	jne	differ
	addw	$apart, lba
	loop	1b
	mov	$sayversion, %si
	call	puts
	mov	$text, %si
	call	puts
	jmp	eol

# write: has all copies hold the rest of the line
write:	mov	$text, %di
	xor	%ax, %ax
	mov	$256, %cx
	rep stosw
	mov	$line+6, %si
	mov	$text, %di
1:	lodsb
	stosb
	test	%al, %al
	jnz	1b
	mov	$text, %bx
	call	first
	movb	$0x43, op
1:	call	disk
	addw	$apart, lba
	loop	1b
	jmp	version

# first: prepares to read copies to %bx, the first one first
first:	mov	%bx, address
	movw	$1, lba
	movb	$0x42, op
	mov	$copies, %cx
	ret

# disk: reads or writes the sector
disk:	push	%cx
	mov	$packet, %si
	mov	op, %ah
	mov	$0, %al
	mov	drive, %dl
	int	$0x13
	pop	%cx
	jc	bad
	ret

# Errors end whatever was asked for.
differ:	mov	$saydiffer, %si
	jmp	1f
bad:	mov	$saybad, %si
1:	call	puts
	call	eol
	mov	$0x7c00, %sp
	jmp	next

off:	mov	$pm+4, %dx
	mov	$0x2000, %ax
	out	%ax, %dx
	jmp	.

# getline: waits for a line, and for the button. It looks at every tick of the clock.
getline:
	mov	$line, %di
1:	mov	$pm, %dx
	in	%dx, %ax
	test	$button, %ax
	jnz	off
	mov	$serial+5, %dx
	in	%dx, %al
	test	$1, %al
	jnz	2f
	sti
	hlt
	jmp	1b
2:	mov	$serial, %dx
	in	%dx, %al
	cmp	$'\n', %al
	je	3f
	cmp	$line+255, %di
	jae	1b
	stosb
	jmp	1b
3:	xor	%al, %al
	stosb
	ret

# puts: sends the text at %si
1:	call	putc
puts:	lodsb
	test	%al, %al
	jnz	1b
	ret

eol:	mov	$'\r', %al
	call	putc
	mov	$'\n', %al
putc:	push	%ax
	mov	$serial+5, %dx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	pop	%ax
	mov	$serial, %dx
	out	%al, %dx
	ret

boot:		.asciz	"boot"
sayready:	.asciz	"COWHAND-GUEST ready="
sayversion:	.asciz	"COWHAND-GUEST version="
saydiffer:	.asciz	"COWHAND-GUEST error=copies differ"
saybad:		.asciz	"COWHAND-GUEST error=disk"
drive:		.byte	0
op:		.byte	0
packet:		.byte	16, 0
		.word	1
address:	.word	0, 0
lba:		.quad	0

	.org	510
	.word	0xaa55
