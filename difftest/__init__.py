"""difftest: boots the same x86 disk image under Bochs and under KVM and says where, and against which rule, they
differ.
"""

__version__ = "0.1.0"
