#!/bin/busybox sh
# The appliance's first and only process of its own: loads KVM, then answers requests on COM4, one line each:
#   request:  ID COMMAND          reply:  ID EXIT-CODE BASE64-OF-OUTPUT
# Where /cases/later is, KVM is loaded on request: a snapshot of Linux without it takes any KVM.
busybox mount -t devtmpfs none /dev
busybox mount -t proc none /proc
busybox mount -t sysfs none /sys
# A guest may have more RAM than there is here, as long as it does not use it.
echo 1 >/proc/sys/vm/overcommit_memory
exec 3<>/dev/ttyS3 2>/tmp/init.err
busybox stty -F /dev/ttyS3 raw -echo 115200
trouble() { echo "fail $1" >&3; }
read -r given </proc/cmdline
read -r release </proc/sys/kernel/osrelease
commas() (
    IFS=,
    echo "$*"
)
load_module() { # FILE
    case ${1##*/} in
    kvm-intel*) options="nested=1" own=kvm_intel. ;;
    kvm.ko) options= own=kvm. ;;
    *) options= own=/ ;;
    esac
    for word in $given; do # insmod does not look at the command line, as modprobe does
        case $word in "$own"*) options="$options ${word#"$own"}" ;; esac
    done
    busybox insmod $1 $options 2>>/tmp/init.err || trouble "insmod ${1##*/}: $(busybox cat /tmp/init.err)"
}
load_kvm() { # PARAMETER ...
    given="$given $*"
    for module in kvm kvm-intel; do
        [ ! -f /cases/$module.ko ] || load_module /cases/$module.ko
    done
    [ -c /dev/kvm ] || trouble "no /dev/kvm"
    read -r nested </sys/module/kvm_intel/parameters/nested
    busybox dmesg -c >/tmp/boot.log
    read -r uptime idle </proc/uptime
    parameters=
    for module in kvm kvm_intel; do
        for file in /sys/module/$module/parameters/*; do
            read -r value rest <"$file" && parameters="$parameters,$module.${file##*/}=$value${rest:+-$rest}"
        done
    done 2>/dev/null
    vmx=
    while read -r name colon value; do
        case $name in vmx) vmx=${value#* } && break ;; esac
    done </proc/cpuinfo
    echo "ready $release nested=$nested uptime=$uptime params=${parameters#,} vmx=$(commas $vmx)" >&3
}
for module in $(busybox cat /modules/order); do
    load_module /modules/$module
done
read -r uptime idle </proc/uptime
if [ -f /cases/later ]; then echo "waits $release uptime=$uptime" >&3; else load_kvm; fi
[ -f /cases/run ] && busybox sh /cases/run # an appliance that nobody asks anything: see appliance_by_hand()
while read -r id command <&3; do
    eval "$command" >/tmp/answer 2>&1
    /bin/pack -r $id $? /tmp/answer >&3
done
