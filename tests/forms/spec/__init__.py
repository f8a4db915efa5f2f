"""What ODK's specification says, item by item, each with its values written out."""
