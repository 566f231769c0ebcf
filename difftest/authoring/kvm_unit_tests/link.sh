#!/bin/sh
# The linker of kvm-unit-tests: images with the suite's own start-up code get its functions and those of boot.c. Images
# whose tests can be switched off have an object of their own.
here=$(dirname "$0")
own=boot.o
for word in "$@"; do
    case $word in
    *.elf) [ ! -f "$here/boot-$(basename "$word" .elf).o" ] || own=boot-$(basename "$word" .elf).o ;;
    esac
done
case " $* " in
*/flat.lds\ *) exec ld "$here/$own" "$@" --wrap=main --wrap=puts --wrap=exit --wrap=reset_apic --wrap=enable_x2apic \
    --wrap=__setup_args ;;
*) exec ld "$@" ;;
esac
