"""HTTP for people and programs: one file per noun, nothing decided here. Every answer comes from the fleet's Control."""
