"""The appliance that hosts KVM inside Bochs: Linux, kvm-intel and QEMU, built from the distribution's packages."""
