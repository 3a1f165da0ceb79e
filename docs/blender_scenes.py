"""Clips of Blender for `make evaluate-stereo PAIRS=DIR`: both eyes and their disparity, of a renderer that is not ours.

`blender -b -P docs/blender_scenes.py -- DIR SCENES` (Blender 3.4 of Debian 12, Cycles on the processor).
Solids with shadows and gloss stand on a ground before a wall; they and two parallel cameras move for 16 frames.
"""

import math
import os
import random
import shutil
import sys
from pathlib import Path

import bpy
import numpy as np

WIDTH, HEIGHT, FRAMES = 384, 272, 16
STRENGTHS = (1.5, 2.5, 3.5, 5)  # percent of the width between the nearest and the farthest point, roughly
LENS = 35  # mm, of a sensor of 36 mm
NEAR, FAR, ZERO = 4.0, 16.0, 9.0  # metres: the nearest solid, the wall, and where both eyes see the same


def main(folder: Path, scenes: int) -> None:
    for number in range(scenes):
        clip = folder / f"blender-{number}"
        if clip.exists():
            continue
        temporary = folder / f"blender-{number}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        focal = WIDTH * LENS / 36
        baseline = STRENGTHS[number % len(STRENGTHS)] / 100 * WIDTH / (focal * (1 / NEAR - 1 / FAR))
        build(random.Random(number))
        for eye, side, disparity in (("left", -0.5, "disparity"), ("right", 0.5, "disparity-right")):
            for kind in (eye, disparity):
                (temporary / kind).mkdir(parents=True)
            for frame in range(FRAMES):
                depth = render_eye(temporary / eye / f"{frame:03d}.png", frame, side * baseline, focal)
                pixels = focal * baseline * (1 / depth - 1 / ZERO)
                np.save(temporary / disparity / f"{frame:03d}.npy", pixels.astype(np.float32))
        os.rename(temporary, clip)


def build(draw: random.Random) -> None:
    """An empty file with a new scene in it."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.max_bounces, scene.cycles.use_denoising = 24, 1, False
    scene.cycles.seed = draw.randrange(10**6)
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    scene.view_settings.view_transform = "Standard"
    scene.view_layers[0].use_pass_z = True
    light(scene, draw)
    wall = add(bpy.ops.mesh.primitive_plane_add, draw, (0, FAR, 0), 60)
    wall.rotation_euler = (math.pi / 2, 0, 0)
    add(bpy.ops.mesh.primitive_plane_add, draw, (0, 10, -1.6), 60)
    solids = [
        bpy.ops.mesh.primitive_monkey_add,
        bpy.ops.mesh.primitive_torus_add,
        bpy.ops.mesh.primitive_cube_add,
        bpy.ops.mesh.primitive_ico_sphere_add,
        bpy.ops.mesh.primitive_cone_add,
        bpy.ops.mesh.primitive_cylinder_add,
    ]
    for _ in range(draw.randint(5, 10)):
        away = draw.uniform(NEAR + 1, 0.8 * FAR)
        across = draw.uniform(-0.45, 0.45) * away
        solid = add(draw.choice(solids), draw, (across, away, draw.uniform(-1.2, 1.2)), draw.uniform(0.25, 0.8))
        solid.scale.z *= draw.choice((1, 1, 1, 4))
        move(solid, draw, 0.4)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.lens = LENS
    camera.rotation_euler = (math.pi / 2, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    move(camera, draw, 0.25, turn=0)


def light(scene, draw):
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle = draw.uniform(1.5, 4), 0.02
    sun.rotation_euler = (draw.uniform(0.3, 1), draw.uniform(-0.7, 0.7), 0)
    scene.collection.objects.link(sun)
    scene.world = bpy.data.worlds.new("sky")
    scene.world.color = (0.3, 0.3, 0.35)
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.4, 0.45, 0.5, 1)


def add(primitive, draw, place, size):
    """A solid of a random material."""
    primitive(location=place)
    solid = bpy.context.object
    solid.scale = (size, size, size)
    solid.rotation_euler = [draw.uniform(0, math.tau) if size < 10 else 0 for _ in range(3)]
    solid.data.materials.append(paint(draw, size if size > 10 else 1))
    return solid


def paint(draw, size):
    """Two colours by a pattern, finer on surfaces of larger size, more or less glossy."""
    material = bpy.data.materials.new("paint")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    surface = nodes["Principled BSDF"]
    surface.inputs["Roughness"].default_value = draw.uniform(0.25, 1)
    kind, output = draw.choice(
        (("ShaderNodeTexNoise", "Fac"), ("ShaderNodeTexVoronoi", "Distance"), ("ShaderNodeTexWave", "Fac"))
    )
    pattern, ramp, place = (nodes.new(name) for name in (kind, "ShaderNodeValToRGB", "ShaderNodeTexCoord"))
    pattern.inputs["Scale"].default_value = size * draw.uniform(2, 14)
    for element in ramp.color_ramp.elements:
        element.color = (draw.random() ** 2, draw.random() ** 2, draw.random() ** 2, 1)
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.3, draw.uniform(0.4, 0.9)
    links.new(place.outputs["Object"], pattern.inputs["Vector"])
    links.new(pattern.outputs[output], ramp.inputs["Fac"])
    links.new(ramp.outputs["Color"], surface.inputs["Base Color"])
    return material


def move(thing, draw, most, turn=0.5):
    """A straight way of at most `most` metres, and a turn, over all frames."""
    for frame in (0, FRAMES - 1):
        if frame:
            thing.location = [value + draw.uniform(-most, most) for value in thing.location]
            thing.rotation_euler = [value + draw.uniform(-turn, turn) for value in thing.rotation_euler]
        for path in ("location", "rotation_euler"):
            thing.keyframe_insert(path, frame=frame)


def render_eye(path: Path, frame: int, side: float, focal: float) -> np.ndarray:  # -> float32 (H W)
    """Render what an eye sees `side` metres to the right of the camera; its distance along the axis is returned."""
    scene = bpy.context.scene
    scene.frame_set(frame)
    scene.camera.delta_location = (side, 0, 0)
    scene.camera.data.shift_x = -side * focal / ZERO / WIDTH  # so that both eyes agree at ZERO
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    layers, files = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeOutputFile")
    files.base_path, files.format.file_format, files.format.color_depth = str(path.parent), "OPEN_EXR", "32"
    files.file_slots[0].path = "depth"
    tree.links.new(layers.outputs["Depth"], files.inputs[0])
    tree.links.new(layers.outputs["Image"], tree.nodes.new("CompositorNodeComposite").inputs["Image"])
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    (written,) = path.parent.glob("depth*.exr")
    image = bpy.data.images.load(str(written))
    depth = np.array(image.pixels[:], np.float32).reshape(HEIGHT, WIDTH, 4)[::-1, :, 0]
    bpy.data.images.remove(image)
    written.unlink()
    return depth


if __name__ == "__main__":
    words = sys.argv[sys.argv.index("--") + 1 :]
    main(Path(words[0]), int(words[1]))
