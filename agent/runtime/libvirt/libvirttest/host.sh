# Becomes a libvirtd of its own, in the mount and network namespace that it was
# begun in: private directories, and a private /dev without kvm, whose mere
# presence can make libvirt's look at the machine last a minute.
set -eu
dir=$1
mount --make-rprivate /
for d in run/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt etc/libvirt; do
  mkdir -p "$dir/$d" "/$d"
  mount --bind "$dir/$d" "/$d"
done
mkdir -p "$dir/dev"
mount -t tmpfs -o mode=755 tmpfs "$dir/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "$dir/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 "$dir/dev/tty" c 5 0
mkdir "$dir/dev/pts" "$dir/dev/shm" "$dir/dev/net"
mknod -m 666 "$dir/dev/net/tun" c 10 200
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$dir/dev/pts"
ln -s pts/ptmx "$dir/dev/ptmx"
ln -s /proc/self/fd "$dir/dev/fd"
mount -t tmpfs tmpfs "$dir/dev/shm"
mkdir "$dir/dev/hugepages" && mount -t hugetlbfs hugetlbfs "$dir/dev/hugepages"
mount --move "$dir/dev" /dev
# libvirt looks for a user that only its Debian package for systemd makes.
{ cat /etc/passwd; echo libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin; } >"$dir/passwd"
{ cat /etc/group; echo libvirt-qemu:x:64055:; echo kvm:x:64056:; } >"$dir/group"
mount --bind "$dir/passwd" /etc/passwd
mount --bind "$dir/group" /etc/group
ip link set lo up
[ -s "$dir/host_uuid" ] || cat /proc/sys/kernel/random/uuid >"$dir/host_uuid"
cat >/etc/libvirt/libvirtd.conf <<END
unix_sock_dir = "$dir"
unix_sock_rw_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
host_uuid = "$(cat "$dir/host_uuid")"
log_outputs = "3:file:$dir/log"
END
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
remember_owner = 0
END
exec libvirtd -f /etc/libvirt/libvirtd.conf -p "$dir/pid"
