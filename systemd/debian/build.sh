#!/bin/sh
# Makes the Debian package. Called by `make deb` with BUILD, VERSION and MAKE set, from the top of the tree.
set -eu
here=systemd/debian
work=$BUILD/deb
root=$work/cpd
rm -rf "$root" "$work/debian"
mkdir -p "$work/debian"
umask 022
$MAKE --no-print-directory install DESTDIR="$(realpath "$work")/cpd" PREFIX=/usr

strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/sbin/cpd" "$root/usr/bin/cpctl"
doc=$root/usr/share/doc/cpd
install -m 644 $here/copyright "$doc/copyright"
# Debian wants its own form; ours is CHANGES.md beside it.
date=$(LC_ALL=C date -u -R -d "@${SOURCE_DATE_EPOCH:-$(stat -c %Y CHANGES.md)}")
printf 'cpd (%s) unstable; urgency=medium\n\n  * See CHANGES.md.\n\n -- cpd maintainers <maintainers@cpd.invalid>  %s\n' "$VERSION" "$date" |
	gzip -9n > "$doc/changelog.gz"
find "$root/usr/share/man" -type f -exec gzip -9n {} + 2>/dev/null || true

# dpkg-shlibdeps wants a source tree around it.
printf 'Source: cpd\n\nPackage: cpd\nArchitecture: any\n' > "$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O cpd/usr/sbin/cpd cpd/usr/bin/cpctl 2>/dev/null)
mkdir -p "$root/DEBIAN"
sed -e "s/@VERSION@/$VERSION/; s/@ARCH@/$(dpkg --print-architecture)/" \
	-e "s/@SIZE@/$(du -k -s --apparent-size "$root" | cut -f1)/; s/@SHLIBS@/${libraries#shlibs:Depends=}/" \
	$here/control > "$root/DEBIAN/control"
for script in preinst postinst prerm postrm; do
	install -m 755 "$here/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr lib -type f -exec md5sum {} + | LC_ALL=C sort -k2 > DEBIAN/md5sums)
chmod 644 "$root/DEBIAN/md5sums"
package=$BUILD/cpd_${VERSION}_$(dpkg --print-architecture).deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
