#!/bin/sh
# Download the packages that the dictionaries are learnt from (about 0.6 GB) into the folder given; none is installed.
#   sh benchmarks/dictionaries/fetch.sh PACKAGES
# The versions are those of Debian 12: elsewhere, add bookworm to the sources of apt first.
set -eu
mkdir -p "$1"
cd "$1"

for pair in \
    deu-bul deu-ell deu-fin deu-fra deu-ind deu-pol deu-rus deu-spa deu-swe \
    ell-bul ell-eng ell-fin ell-fra ell-ita ell-nld ell-pol ell-por ell-spa ell-swe \
    eng-bul eng-fin eng-ind eng-nor \
    fin-bul fin-deu fin-ell fin-eng fin-fra fin-ita fin-nld fin-nor fin-pol fin-por fin-swe \
    fra-bul fra-deu fra-ell fra-fin fra-ita fra-pol fra-por fra-spa fra-swe \
    ita-fin ita-pol ita-por ita-spa ita-swe \
    nld-fin nld-ita nld-pol nld-por nld-spa nld-swe \
    pol-bul pol-deu pol-ell pol-eng pol-fin pol-fra pol-ita pol-nld pol-nor pol-por pol-spa pol-swe \
    por-fra por-spa \
    swe-bul swe-deu swe-fin swe-fra swe-nor swe-pol swe-spa
do
    apt-get download "dict-freedict-$pair=2022.12.07-2"
done
for language in de es en-us; do
    apt-get download "libreoffice-help-$language=4:7.4.7-1+deb12u14"
done
apt-get download debian-handbook=11.20220922

python3 -m pip download --no-deps --only-binary :all: \
    apache-superset==6.1.0 django==5.2.19 django-cms==5.1.3 django-oscar==4.2.1 homeassistant==2024.3.3 \
    indico==3.2.9 invenio-app-rdm==14.0.5 jupyterlab-language-pack-de-DE==4.5.post3 \
    jupyterlab-language-pack-es-ES==4.5.post3 kolibri==0.19.5 mezzanine==6.1.1 pgadmin4==9.18 sphinx==9.0.4 \
    spyder==6.1.8 wagtail==8.0.1
