//! Real Secret Services other than gnome-keyring, and slow ones: KeePassXC, KWallet, a bus that delays every message.

mod keepassxc;
mod kwallet;
mod programs;
mod slow;
mod start;
