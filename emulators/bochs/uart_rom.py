"""An option ROM for Bochs that leaves COM1 usable, as a PC's firmware does: 115200 baud, 8 data bits, no parity, one
stop bit, FIFOs on.

Bochs' BIOS leaves the UART at its reset state, five data bits, and Bochs honours that: a boot sector that prints
without programming the line control register would send other bytes there than under QEMU, whose UART knows no word
length. The FIFO takes up to 16 bytes from a guest that does not wait for the transmitter; QEMU's UART, which needs no
time, takes any number.
"""

from __future__ import annotations

ADDRESS = 0xD0000
_BLOCK = 512


def _out(port: int, value: int) -> bytes:
    """mov dx, port; mov al, value; out dx, al"""
    return bytes([0xBA, port & 0xFF, port >> 8, 0xB0, value, 0xEE])


def uart_rom() -> bytes:
    """The ROM's bytes: signature, size in 512-byte blocks, entry point at offset 3, checksum of all bytes zero."""
    save, restore_and_return = bytes([0x50, 0x52]), bytes([0x5A, 0x58, 0xCB])  # push ax, dx / pop dx, ax; retf
    set_divisor = _out(0x3FB, 0x80) + _out(0x3F8, 1) + _out(0x3F9, 0)
    set_line = _out(0x3FB, 0x03) + _out(0x3FA, 0x07)
    rom = bytes([0x55, 0xAA, 1]) + save + set_divisor + set_line + restore_and_return
    rom = rom.ljust(_BLOCK - 1, b"\0")
    return rom + bytes([-sum(rom) & 0xFF])
